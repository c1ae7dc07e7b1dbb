"""A running `metamcp serve` takes over a changed file; a faulty one changes nothing; nobody's call is lost."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import RunningGateway, serve
from tests.processes import Program
from tests.serving import Client
from tests.stdio import stdio
from tests.upstream.child.children import exists, vanished

CHANGED = "notifications/tools/list_changed"
ADA, BOB = "sk-reload-ada-000001", "sk-reload-bob-000002"


class Running:
    """A gateway whose file can be changed, and clients of it."""

    def __init__(self, gateway: RunningGateway, http: httpx2.AsyncClient) -> None:
        self.config = gateway.config
        self.program: Program = gateway.program
        self.origin = gateway.origin
        self.http = http
        self._seen = 0

    def client(self, endpoint: str = "default", key: str = "") -> Client:
        return Client(f"{self.origin}/metamcp/{endpoint}/mcp", self.http, key)

    async def said(self, pattern: str) -> None:
        """Waits for a line of the log, each of which counts once."""
        await asyncio.to_thread(self.program.wait_for_line, pattern, 30, self._seen)
        self._seen = self.program.line_count()

    async def save(self, document: Any) -> None:
        """Saves the file and waits until it is served."""
        self._seen = self.program.line_count()
        self.config.write_text(json.dumps(document))
        await self.said("Reloaded")


@contextlib.asynccontextmanager
async def running(folder: Path, document: Any) -> AsyncIterator[Running]:
    with serve(document, folder) as gateway:
        async with httpx2.AsyncClient(timeout=20, verify=False) as http:
            yield Running(gateway, http)


def servers(**servers: Any) -> dict[str, Any]:
    return {"mcpServers": servers}


class TestWaysToSave:
    """However the file is replaced: what is served afterwards is what it says then."""

    BEFORE = servers(a=stdio())
    AFTER = servers(a=stdio(), b=stdio())

    async def check(self, running: Running) -> None:
        await running.said("Reloaded")
        assert await running.client().text("b__echo") == "{}"

    async def test_written_in_place(self, tmp_path):
        async with running(tmp_path, self.BEFORE) as r:
            r.config.write_text(json.dumps(self.AFTER))
            await self.check(r)

    async def test_written_in_two_parts(self, tmp_path):
        async with running(tmp_path, self.BEFORE) as r:
            text = json.dumps(self.AFTER)
            with r.config.open("w") as file:
                file.write(text[:40])
                file.flush()
                await asyncio.sleep(0.5)
                file.write(text[40:])
            await self.check(r)

    async def test_replaced_by_an_editor(self, tmp_path):
        async with running(tmp_path, self.BEFORE) as r:
            for document in (self.BEFORE, self.AFTER):
                new = tmp_path / ".mcp.json.swp"
                new.write_text(json.dumps(document, indent=1))
                new.rename(r.config)
                await r.said("Reloaded")
            assert await r.client().text("b__echo") == "{}"

    async def test_deleted_and_made_again(self, tmp_path):
        async with running(tmp_path, self.BEFORE) as r:
            r.config.unlink()
            await asyncio.sleep(0.4)
            assert await r.client().text("a__echo") == "{}"
            r.config.write_text(json.dumps(self.AFTER))
            await self.check(r)

    @staticmethod
    def linked(tmp_path: Path, target: Path) -> Path:
        """Has `mcp.json` lead to `target`, as the folder of the gateway is a place of its own."""
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "mcp.json").symlink_to(target)
        return folder

    async def test_a_link_in_its_path_is_swapped(self, tmp_path):
        """As Kubernetes does it: mcp.json -> ..data/mcp.json, and ..data is a link that is replaced."""
        for name, document in (("one", self.BEFORE), ("two", self.AFTER)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "mcp.json").write_text(json.dumps(document))
        (tmp_path / "..data").symlink_to("one")
        (tmp_path / "mcp.json").symlink_to("..data/mcp.json")
        async with running(tmp_path, self.BEFORE) as r:
            (tmp_path / "..new").symlink_to("two")
            (tmp_path / "..new").rename(tmp_path / "..data")
            await self.check(r)

    async def test_what_a_link_leads_to_in_another_folder_is_written(self, tmp_path):
        (tmp_path / "dotfiles").mkdir()
        real = tmp_path / "dotfiles" / "servers.json"
        real.write_text("{}")
        async with running(self.linked(tmp_path, real), self.BEFORE) as r:
            real.write_text(json.dumps(self.AFTER))
            await self.check(r)

    async def test_sighup(self, tmp_path):
        """Also where nothing in the file has changed, such as after a change of a variable in `.env`."""
        async with running(tmp_path, self.BEFORE) as r:
            pid = await r.client().text("a__pid")
            r.program.signal(signal.SIGHUP)
            await r.said("Reloaded")
            assert await r.client().text("a__pid") == pid


async def test_a_fault_is_logged_and_what_is_served_stays(tmp_path):
    async with running(tmp_path, servers(a=stdio())) as r:
        pid = await r.client().text("a__pid")
        for fault, said in (
            ("{not json", "mcp.json"),
            (json.dumps(servers(a={"comand": "x"})), "mcpServers.a.*comand"),
            (json.dumps(servers(a={"command": "${NO_SUCH_VARIABLE}"})), "NO_SUCH_VARIABLE"),
        ):
            r.config.write_text(fault)
            await r.said(f"Not reloaded.*{said}")
            assert await r.client().text("a__pid") == pid
        r.program.signal(signal.SIGHUP)
        await r.said("Not reloaded")
        await r.save(servers(a=stdio(), b=stdio()))
        assert await r.client().text("a__pid") == pid


async def test_an_unchanged_server_keeps_its_process_and_a_changed_one_gets_a_new_one(tmp_path):
    async with running(tmp_path, servers(same=stdio(), other=stdio(), gone=stdio())) as r:
        client = r.client()
        same, other, gone = [await client.text(f"{name}__pid") for name in ("same", "other", "gone")]
        await r.save(servers(other=stdio(tools=["more"]), new=stdio(), same=stdio()))
        assert await client.text("same__pid") == same
        assert await client.text("other__more") == "{}"
        assert await client.text("other__pid") != other
        assert await client.text("new__echo") == "{}"
        assert (await client.ask("tools/call", name="gone__echo", arguments={}))["error"]["code"] == -32602
        assert await vanished(int(other), int(gone))
        assert (await client.tools())[0].startswith("other__"), "lists follow the new order"


async def test_calls_in_flight_on_a_removed_and_on_a_changed_server_finish(tmp_path):
    gate = tmp_path / "gate"
    async with running(tmp_path, servers(gone=stdio(), other=stdio())) as r:
        client = r.client()
        gone = int(await client.text("gone__pid"))
        log = r.program.line_count()
        calls = [
            asyncio.create_task(each.text(f"{name}__slow", until=str(gate)))
            for name in ("gone", "other")
            for each in (client, await client.session())
        ]
        # The calls are on their way when the answer to a later one on the same connection pool is there.
        assert await client.text("gone__echo") == await client.text("other__echo") == "{}"
        await r.save(servers(other=stdio(tools=["more"])))
        assert await client.text("other__more") == "{}"
        assert exists(gone)
        gate.touch()
        assert all("gate" in text for text in await asyncio.gather(*calls))
        assert await vanished(gone)
        assert "Traceback" not in "\n".join(r.program.output().splitlines()[log:])


async def test_clients_that_listen_are_told(tmp_path):
    async with running(tmp_path, servers(a=stdio())) as r:
        client = r.client()
        await client.text("a__echo")
        legacy = await client.session()
        async with client.listening() as modern_changes, legacy.listening() as legacy_changes:
            await r.save(servers(a=stdio(), b=stdio()))
            for changes in (modern_changes, legacy_changes):
                await changes.of_method(CHANGED)
            await client.text("b__echo")
            switched = {
                **servers(a=stdio(), b=stdio()),
                "namespaces": {"n": {"servers": ["a", "b"], "tools": {"a__echo": {"enabled": False}}}},
                "endpoints": {"default": {"namespace": "n", "apiKeyAuth": False}},
            }
            await r.save(switched)
            for changes in (modern_changes, legacy_changes):
                await changes.of_method(CHANGED)
            assert "a__echo" not in await client.tools()
            assert "a__echo" not in await legacy.tools()
            assert (await legacy.call("a__echo"))["isError"]


def published(*endpoints: str, **keys: str) -> dict[str, Any]:
    return {
        **servers(a=stdio()),
        "namespaces": {"n": {"servers": ["a"]}},
        "endpoints": {name: {"namespace": "n"} for name in endpoints},
        "apiKeys": [{"name": name, "key": key} for name, key in keys.items()],
    }


async def test_endpoints_come_and_go(tmp_path):
    async with running(tmp_path, published("one", "two", ada=ADA)) as r:
        one, two, three = (r.client(name, ADA) for name in ("one", "two", "three"))
        assert await one.text("a__echo") == await two.text("a__echo") == "{}"
        assert (await three.post("tools/list")).status_code == 404
        session = await two.session()
        await r.save(published("one", "three", ada=ADA))
        assert await three.text("a__echo") == "{}"
        assert (await two.post("tools/list")).status_code == 404
        assert (await session.post("tools/list")).status_code == 404
        await r.save(published("one", "two", ada=ADA))
        assert await session.text("a__echo") == "{}", "the session is as good as before"


async def test_a_revoked_key_is_refused_at_once(tmp_path):
    async with running(tmp_path, published("one", ada=ADA, bob=BOB)) as r:
        ada, bob = r.client("one", ADA), r.client("one", BOB)
        session = await ada.session()
        assert await ada.text("a__echo") == await bob.text("a__echo") == "{}"
        await r.save(published("one", bob=BOB))
        for revoked in (ada, session):
            assert (await revoked.post("tools/list")).status_code == 401
        assert await bob.text("a__echo") == "{}"
        changed = published("one", bob=BOB)
        changed["apiKeys"][0]["endpoints"] = []
        del changed["apiKeys"][0]
        await r.save({**changed, "apiKeys": [{"name": "bob", "key": ADA}]})
        assert (await bob.post("tools/list")).status_code == 401
        assert await ada.text("a__echo") == "{}"


@pytest.mark.parametrize("others", [{"bob": BOB}, {"bob": BOB, "ada": "sk_mt_" + "n" * 64}], ids=["revoked", "rotated"])
async def test_the_stream_of_a_key_that_is_good_no_longer_ends(tmp_path, others):
    """What it still told would be what its holder may no longer know."""
    async with running(tmp_path, published("one", ada=ADA, bob=BOB)) as r:
        ada = r.client("one", ADA)
        await ada.tools()
        async with ada.listening() as changes:
            after = published("one", **others)
            after["mcpServers"]["b"] = stdio()
            after["namespaces"]["n"]["servers"].append("b")
            await r.save(after)
            told = []
            with contextlib.suppress(EOFError):
                async with asyncio.timeout(30):
                    told = [await changes.message(), await changes.message()]
            assert [message["method"] for message in told if "method" in message] == []


async def test_an_endpoint_that_is_removed_while_a_request_arrives(tmp_path):
    async with running(tmp_path, published("one", "two", ada=ADA)) as r:
        client = r.client("two", ADA)
        await client.tools()
        body, headers = client.message("tools/list", {})
        arriving = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            data = json.dumps(body).encode()
            yield data[:10]
            await arriving.wait()
            yield data[10:]

        request = asyncio.create_task(r.http.post(client.url, content=slowly(), headers=headers))
        await r.client("one", ADA).tools()
        await r.save(published("one", ada=ADA))
        arriving.set()
        answer = await request
        # It finishes as it began, or is told what has happened meanwhile.
        assert answer.status_code < 500
        assert answer.status_code == 200 or "two" in answer.text
