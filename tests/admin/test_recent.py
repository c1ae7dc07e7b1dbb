"""What happened lately, by the management API: the last lines and the numbers, and who may see which."""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from tests.admin.managed import JSON, MEMBER, Managed, managed
from tests.places import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module", autouse=True)
def logged() -> Iterator[None]:
    """The level that a gateway sets when it is run."""
    logger = logging.getLogger("metamcp")
    level = logger.level
    logger.setLevel(logging.INFO)
    yield
    logger.setLevel(level)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(logged: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Managed]:
    """A gateway with three servers of one name: a public one, one of Ada's and one of Mel's."""
    async with managed(f"sqlite:///{tmp_path_factory.mktemp('recent')}/metamcp.db") as running:
        for owner in (None, running.ids["ada"], running.ids["mel"]):
            whose = next((name for name, identity in running.ids.items() if identity == owner), "public")
            does = json.dumps({"stderr": f"words of {whose}\n"})
            arguments = [str(ROOT / "tests" / "stdio_server.py"), does]
            body = {"name": "clock", "command": sys.executable, "args": arguments, "ownerId": owner}
            server = await running.make("/servers", body)
            await running.ready(server)
            running.ids[f"clock of {whose}"] = server["id"]
        yield running


async def logs(api: Managed, found: Callable[[JSON], bool] = bool, **how: Any) -> JSON:
    """Reads the lines until they are as wanted: what servers write comes by another way than what they answer."""
    async with asyncio.timeout(15):
        while not found(read := await api.get("/logs", **how)):  # noqa: ASYNC110 - another process's pipe
            await asyncio.sleep(0.02)
    return read


def said(read: JSON, source: str) -> list[tuple[str, str | None, str]]:
    return [(line["server"], line["ownerId"], line["text"]) for line in read["items"] if line["source"] == source]


def has_all_words(read: JSON) -> bool:
    return len(said(read, "stderr")) == 3


async def test_an_admin_sees_all_lines_and_whose_they_are(api: Managed) -> None:
    read = await logs(api, has_all_words)
    ada, mel = api.ids["ada"], api.ids["mel"]
    assert sorted(said(read, "stderr"), key=str) == sorted(
        [("clock", None, "words of public"), ("clock", ada, "words of ada"), ("clock", mel, "words of mel")], key=str
    )
    states = [line for line in said(read, "server") if "ready" in line[2]]
    assert {owner for _, owner, _ in states} == {None, ada, mel}
    assert any("Reloaded" in text for _, _, text in said(read, "gateway"))
    assert read["shared"] is False
    assert [line["at"] for line in read["items"]] == sorted(line["at"] for line in read["items"])


async def test_a_member_sees_own_servers_and_the_state_of_public_ones_even_if_their_names_are_equal(
    api: Managed,
) -> None:
    await logs(api, has_all_words)
    read = await api.get("/logs", key=MEMBER)
    assert said(read, "stderr") == [("clock", api.ids["mel"], "words of mel")]
    assert {owner for _, owner, _ in said(read, "server")} == {None, api.ids["mel"]}
    assert said(read, "gateway") == []
    assert not any(word in json.dumps(read) for word in ("words of ada", "words of public", api.ids["ada"]))


async def test_lines_are_picked_by_server_level_source_and_text(api: Managed) -> None:
    await logs(api, has_all_words)
    mels = await api.get("/logs", params={"server": f"clock@{api.ids['mel']}"})
    assert {line["ownerId"] for line in mels["items"]} == {api.ids["mel"]}
    assert len((await api.get("/logs", params={"server": "clock", "source": "stderr"}))["items"]) == 3
    assert (await api.get("/logs", params={"server": "cloc"}))["items"] == []
    (only,) = (await api.get("/logs", params={"text": "WORDS OF A"}))["items"]
    assert only["text"] == "words of ada"
    assert (await api.get("/logs", params={"source": "stderr", "level": "warning"}))["items"] == []
    assert len((await api.get("/logs", params={"tail": 1}))["items"]) == 1
    for wrong in ({"level": "loud"}, {"tail": 0}, {"source": "elsewhere"}):
        assert (await api.send("GET", "/logs", params=wrong)).status_code == 422


async def test_who_reads_again_gets_what_is_new(api: Managed) -> None:
    place = (await logs(api, has_all_words))["place"]
    assert (await api.get("/logs", params={"since": place}))["items"] == []
    server = api.ids["clock of mel"]
    assert (await api.send("POST", f"/servers/{server}/reset", key=MEMBER)).status_code == 200
    read = await logs(api, lambda read: bool(said(read, "stderr")), params={"since": place}, key=MEMBER)
    assert (read["lost"], said(read, "stderr")) == (False, [("clock", api.ids["mel"], "words of mel")])


async def test_calls_are_counted_by_server_and_tool_for_admins(api: Managed) -> None:
    members = [{"serverId": api.ids["clock of public"]}]
    namespace = await api.make("/namespaces", {"name": "all", "servers": members, "ownerId": None})
    endpoint = {"name": "tools", "namespaceId": namespace["id"], "apiKeyAuth": False, "ownerId": None}
    await api.make("/endpoints", endpoint)
    client = api.client("tools")
    async with asyncio.timeout(15):
        while (await client.modern("tools/list")).status != 200:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.02)
    for _ in range(3):
        assert (await client.call("clock__echo")).status == 200
    await client.call("clock__leave")  # ends during the call
    read = await api.get("/metrics", params={"by": "tool"})
    tools = {item["tool"]: item for item in read["items"]}
    assert (tools["echo"]["server"], tools["echo"]["calls"], tools["echo"]["errors"]) == ("clock", 3, 0)
    assert 0 < tools["echo"]["p50"] <= tools["echo"]["p95"]
    assert (tools["leave"]["calls"], tools["leave"]["errors"]) == (1, 1)
    assert sum(point["calls"] for point in read["points"]) == read["calls"]
    for span in ("5m", "1h", "start"):
        read = await api.get("/metrics", params={"span": span, "top": 1})
        assert (read["span"], read["processes"], len(read["items"])) == (span, 1, 1)
        assert read["errors"] >= 1
        assert read["calls"] >= 4
    (busiest,) = (await api.get("/metrics", params={"by": "endpoint"}))["items"]
    assert (busiest["endpoint"], busiest["server"]) == ("tools", None)
    assert (await api.send("GET", "/metrics", key=MEMBER)).status_code == 403
    assert (await api.send("GET", "/metrics", params={"by": "day"})).status_code == 422
