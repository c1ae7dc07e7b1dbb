"""Real MCP servers, and one gateway in front of them all, shared by the tests of a session."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunningGateway, StartGateway
from tests.places import BIN, npm_program
from tests.processes import free_port, running

KEY = "sk-peers-3f1c7a52"
NOT_FOR_CHILDREN = "a-secret-of-the-gateway"


@dataclass(frozen=True, slots=True)
class Peers:
    """The gateway of these tests, and the folder that its server-filesystem serves.

    Endpoints: `all` has every server, `everything` has server-everything over stdio alone; both want KEY.
    """

    gateway: RunningGateway
    folder: Path

    def url(self, endpoint: str = "all") -> str:
        """Returns the URL of an endpoint."""
        return self.gateway.url(endpoint)


def _server_everything_over_http(mode: str, path: str) -> Iterator[str]:
    port = free_port()
    command = [*npm_program("mcp-server-everything"), mode]
    with running(command, rf"port {port}", {"PORT": str(port)}):
        yield f"http://127.0.0.1:{port}{path}"


@pytest.fixture(scope="session")
def streamable_http_url() -> Iterator[str]:
    """URL of a server-everything that speaks Streamable HTTP."""
    yield from _server_everything_over_http("streamableHttp", "/mcp")


@pytest.fixture(scope="session")
def sse_url() -> Iterator[str]:
    """URL of a server-everything that speaks HTTP+SSE of 2024-11-05."""
    yield from _server_everything_over_http("sse", "/sse")


def _stdio(command: list[str], *arguments: str, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    return {"command": command[0], "args": [*command[1:], *arguments], "env": dict(env or {})}


@pytest.fixture(scope="session")
def peers(
    gateway: StartGateway, streamable_http_url: str, sse_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Peers:
    folder = tmp_path_factory.mktemp("served").resolve()
    (folder / "greeting.txt").write_text("Grüße aus dem Dateisystem\n")
    memory = tmp_path_factory.mktemp("memory") / "graph.jsonl"
    servers = {
        "time": _stdio([str(BIN / "mcp-server-time")]),
        "everything": _stdio(npm_program("mcp-server-everything")),
        "everything-http": {"type": "streamable_http", "url": streamable_http_url},
        "everything-sse": {"type": "sse", "url": sse_url},
        "files": _stdio(npm_program("mcp-server-filesystem"), str(folder)),
        "memory": _stdio(npm_program("mcp-server-memory"), env={"MEMORY_FILE_PATH": str(memory)}),
    }
    config = {
        "mcpServers": servers,
        "namespaces": {"all": {"servers": list(servers)}, "everything": {"servers": ["everything"]}},
        "endpoints": {"all": {"namespace": "all"}, "everything": {"namespace": "everything"}},
        "apiKeys": [{"name": "peers", "key": KEY}],
    }
    return Peers(gateway(config, {"SECRET_OF_THE_HOST": NOT_FOR_CHILDREN}), folder)
