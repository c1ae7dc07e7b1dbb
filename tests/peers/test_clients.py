"""Any client, many servers, one endpoint: each client lists the tools of every server and calls one of each."""

import json
from typing import Any

import pytest

from tests.peers.clients import CLIENTS, Client
from tests.peers.conftest import KEY, NOT_FOR_CHILDREN, Peers

pytestmark = [pytest.mark.peers, pytest.mark.node, pytest.mark.xdist_group("peers")]

# Tools of each server, those that these tests call and some that they don't.
TOOLS = {
    "time": {"get_current_time", "convert_time"},
    "everything": {"echo", "get-env", "get-sum", "get-tiny-image", "trigger-long-running-operation"},
    "everything-http": {"echo", "get-sum"},
    "everything-sse": {"echo", "get-sum"},
    "files": {"read_text_file", "write_file", "directory_tree"},
    "memory": {"create_entities", "read_graph", "search_nodes"},
}


class Session:
    """What one client got: its list, and the result of each call by the tool's name."""

    def __init__(self, client: Client, peers: Peers) -> None:
        self.client = client
        tokyo = {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}
        entity = {"name": client.name, "entityType": "client", "observations": [f"drove by {client.driver}"]}
        calls: list[tuple[str, dict[str, Any]]] = [
            ("time__convert_time", tokyo),
            ("time__get_current_time", {"timezone": "Nowhere/Land"}),
            ("everything__echo", {"message": "naïve ✓ 𝄞"}),
            ("everything__get-env", {}),
            ("everything-http__get-sum", {"a": 2, "b": 40}),
            ("everything-sse__echo", {"message": f"from {client.name}"}),
            ("files__read_text_file", {"path": str(peers.folder / "greeting.txt")}),
            ("memory__create_entities", {"entities": [entity]}),
            ("memory__open_nodes", {"names": [client.name]}),
        ]
        found = client.run(peers.url(), KEY, calls)
        self.revision = found["revision"]
        self.tools = found["tools"]
        self.results = {name: result for (name, _), result in zip(calls, found["results"], strict=True)}

    def text(self, tool: str) -> str:
        """Returns the text of a call that went well."""
        result = self.results[tool]
        assert not result["isError"], result
        text: str = result["text"]
        return text


@pytest.fixture(scope="module", params=CLIENTS, ids=lambda client: client.name)
def session(request: pytest.FixtureRequest, peers: Peers) -> Session:
    return Session(request.param, peers)


def test_negotiates_the_newest_revision_that_the_client_knows(session: Session) -> None:
    assert session.revision == session.client.revision


def test_lists_the_tools_of_every_server_under_its_name(session: Session) -> None:
    listed: dict[str, set[str]] = {}
    for tool in session.tools:
        server, _, name = tool.partition("__")
        listed.setdefault(server, set()).add(name)
    assert listed.keys() == TOOLS.keys()
    assert {server: tools - listed[server] for server, tools in TOOLS.items() if not tools <= listed[server]} == {}
    assert len(session.tools) == len(set(session.tools))


def test_calls_mcp_server_time(session: Session) -> None:
    converted = json.loads(session.text("time__convert_time"))
    assert converted["target"]["datetime"].endswith("T21:00:00+09:00")


def test_passes_a_tools_own_error_on_as_its_result(session: Session) -> None:
    result = session.results["time__get_current_time"]
    assert result["isError"]
    assert "Nowhere/Land" in result["text"]


def test_calls_server_everything_over_stdio(session: Session) -> None:
    assert session.text("everything__echo") == "Echo: naïve ✓ 𝄞"


def test_calls_server_everything_over_streamable_http(session: Session) -> None:
    assert session.text("everything-http__get-sum") == "The sum of 2 and 40 is 42."


def test_calls_server_everything_over_http_and_sse(session: Session) -> None:
    assert session.text("everything-sse__echo") == f"Echo: from {session.client.name}"


def test_calls_server_filesystem(session: Session) -> None:
    assert session.text("files__read_text_file") == "Grüße aus dem Dateisystem\n"


def test_calls_server_memory_which_keeps_what_it_was_told(session: Session) -> None:
    session.text("memory__create_entities")
    entities = json.loads(session.text("memory__open_nodes"))["entities"]
    assert [entity["name"] for entity in entities] == [session.client.name]


def test_children_do_not_see_the_gateways_environment(session: Session) -> None:
    environment = session.text("everything__get-env")
    assert "PATH" in json.loads(environment)
    assert NOT_FOR_CHILDREN not in environment
