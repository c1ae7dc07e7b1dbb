"""What of a configuration is taken for a secret."""

import time

import pytest

from metamcp_asgi.config.sensitive import in_args, in_url, masked, masked_url


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("https://user:hunter2@host/mcp", "https://user:***@host/mcp"),
        ("https://user:hunter2@host/mcp?api_key=k1", "https://user:***@host/mcp?api_key=***"),
        ("postgres://u:p4ss@h/db", "postgres://u:***@h/db"),
        ("https://user:p@ss:word@host/mcp", "https://user:***@host/mcp"),
        ("https://host:8080/mcp/@scope", "https://host:8080/mcp/@scope"),
        ("https://user@host:8080/mcp", "https://user@host:8080/mcp"),
        ("npm:@scope/name", "npm:@scope/name"),
    ],
)
def test_a_password_in_a_url_is_a_secret(argument: str, shown: str) -> None:
    assert [masked(argument, spans) for spans in in_args([argument])] == [shown]
    if argument.startswith("http"):
        assert masked(argument, in_url(argument)) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pa&token=x&rest-of-secret@host/mcp", "https://user:***@host/mcp"),
        ("https://h/v1?a=1&token=SECRET/sk-0123456789abcdef01/x", "https://h/v1?a=1&token=***"),
        ("https://h/sk-0123456789abcdef01&token=a/x", "https://h/***"),
    ],
)
def test_what_is_a_secret_in_two_ways_is_hidden_as_a_whole(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@pytest.mark.parametrize("run", [":", "?", "&", "/", "@", ":@", "?a", "=", "a:", "x://", "-", "1"])
@pytest.mark.parametrize("begin", ["https://", "x://h/", "https://h/?", "", "--", "A"])
def test_no_text_takes_long_to_look_through(begin: str, run: str) -> None:
    began = time.process_time()
    list(in_args([begin + run * 20_000]))
    assert time.process_time() - began < 0.5, "it takes seconds where the time grows with the square of the length"
