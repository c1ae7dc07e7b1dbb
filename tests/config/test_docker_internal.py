"""``TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL`` touches the host, and only the host."""

import pytest

from metamcp_asgi.config.servers import docker_internal


@pytest.mark.parametrize(
    ("url", "result"),
    [
        ("http://localhost", "http://host.docker.internal"),
        ("http://localhost:9000/mcp", "http://host.docker.internal:9000/mcp"),
        ("https://127.0.0.1/mcp?a=localhost", "https://host.docker.internal/mcp?a=localhost"),
        ("http://LocalHost/", "http://host.docker.internal/"),
        ("http://localhost?x", "http://host.docker.internal?x"),
        ("http://mylocalhost.com/localhost", "http://mylocalhost.com/localhost"),
        ("http://localhost.example.com/", "http://localhost.example.com/"),
        ("http://127.0.0.10/", "http://127.0.0.10/"),
        ("http://example.com/http://localhost/", "http://example.com/http://localhost/"),
    ],
)
def test_a_url(url: str, result: str) -> None:
    assert docker_internal(url) == result
