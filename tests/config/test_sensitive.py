"""What of a configuration is taken for a secret."""

import pytest

from metamcp_asgi.config.sensitive import in_args, in_url, masked


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("https://user:hunter2@host/mcp", "https://user:***@host/mcp"),
        ("https://user:hunter2@host/mcp?api_key=k1", "https://user:***@host/mcp?api_key=***"),
        ("postgres://u:p4ss@h/db", "postgres://u:***@h/db"),
        ("https://host:8080/mcp/@scope", "https://host:8080/mcp/@scope"),
    ],
)
def test_a_password_in_a_url_is_a_secret(argument: str, shown: str) -> None:
    assert [masked(argument, spans) for spans in in_args([argument])] == [shown]
    if argument.startswith("http"):
        assert masked(argument, in_url(argument)) == shown
