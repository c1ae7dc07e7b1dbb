"""Who is told of changes of lists that pass through middlewares: those who are given another list (check 80)."""

import asyncio
import sys
from types import ModuleType
from typing import Any

import pytest

from metamcp_asgi.config.file import compile_document
from tests.aggregate.middleware.installing import installed, through
from tests.gateway.client import Exchange
from tests.gateway.running import KEY_A, KEY_B, RunningGateway, document_of, gateway_for, served
from tests.gateway.test_changes import KINDS, change, listening
from tests.gateway.upstreams.raw import RawServer, tool_named
from tests.workers.running import until

MODULE = '''
import asyncio
from msgspec import Struct

asked = []
trouble = {}

class Hidden(Struct):
    hidden: dict[str, list[str]] = {}

class PerKey:
    """Hides some tools of each key, and has trouble for some."""
    Options = Hidden
    per_principal = True
    def __init__(self, options):
        self.hidden = options.hidden
    async def list_tools(self, call, next):
        who = call.principal.name
        asked.append(who)
        if trouble.get(who) == "fails":
            raise RuntimeError("out of order")
        if trouble.get(who) == "hangs":
            await asyncio.Event().wait()
        return [item for item in await next(call) if item.own_name not in self.hidden.get(who, ())]

class ForAll:
    """Hides from everybody what begins with an x."""
    async def list_tools(self, call, next):
        asked.append("")
        return [item for item in await next(call) if not item.own_name.startswith("x")]
'''
TOLD = {kind: f"notifications/{kind}/list_changed" for kind in KINDS}


@pytest.fixture(autouse=True)
def middlewares(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    sys.modules.pop("mw_changes", None)
    with installed(tmp_path, monkeypatch, "mw_changes", MODULE, perkey="PerKey", forall="ForAll"):
        import mw_changes  # type: ignore[import-not-found]

        module: ModuleType = mw_changes
        return module


def hidden(**of: list[str]) -> dict[str, Any]:
    return {"perkey": {"hidden": of}}


async def listening_as(running: RunningGateway, key: str) -> list[Exchange]:
    """Opens a stream of either era."""
    client = running.client("keyed", key)
    return [await listening(client, *KINDS), await (await client.session()).listen()]


async def told(streams: list[Exchange]) -> list[str]:
    """Returns what each stream is told next."""
    return [(await asyncio.wait_for(stream.message(), 30))["method"] for stream in streams]


async def change_prompts(server: RawServer, name: str) -> None:
    """Changes what everybody sees: what comes before this on a stream was told for what was changed before."""
    server.behaviour["prompts/list"] = server.listed("prompts", [{"name": name}])
    await server.announce("prompts")


async def closed(*streams: Exchange) -> None:
    for stream in streams:
        await stream.close()


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_check_80_who_does_not_see_a_change_is_not_told(era: str) -> None:
    server = RawServer(era, ("one",))
    async with through([hidden(B=["secret"])], raw=server) as running:
        a, b = await listening_as(running, KEY_A), await listening_as(running, KEY_B)
        await change(server, "one", "secret")
        assert await told(a) == [TOLD["tools"]] * 2
        await change(server, "one", {**tool_named("secret"), "title": "changed"})
        assert await told(a) == [TOLD["tools"]] * 2
        await change(server, "one")
        assert await told(a) == [TOLD["tools"]] * 2
        await change_prompts(server, "seen by both")
        assert await told([*a, *b]) == [TOLD["prompts"]] * 4
        await change(server, "one", "two")
        assert await told([*a, *b]) == [TOLD["tools"]] * 4
        await closed(*a, *b)


async def test_a_list_is_computed_once_for_each_principal_and_only_where_it_may_differ(middlewares: Any) -> None:
    server = RawServer("modern", ("one",))
    async with through([hidden(B=["secret"])], raw=server) as running:
        streams = [*await listening_as(running, KEY_A), *await listening_as(running, KEY_A)]
        streams += await listening_as(running, KEY_B)
        await until(lambda: sorted(middlewares.asked) == ["A", "B"])
        await change_prompts(server, "not filtered")
        assert await told(streams) == [TOLD["prompts"]] * 6
        await change(server, "one", "two")
        assert await told(streams) == [TOLD["tools"]] * 6
        assert sorted(middlewares.asked) == ["A", "A", "B", "B"]
        await closed(*streams)


async def test_check_80_what_is_hidden_from_everybody_is_told_to_nobody(middlewares: Any) -> None:
    server = RawServer("modern", ("one",))
    async with through(["forall"], raw=server) as running:
        streams = [*await listening_as(running, KEY_A), *await listening_as(running, KEY_B)]
        await until(lambda: middlewares.asked == [""])
        await change(server, "one", "x1")
        await until(lambda: middlewares.asked == ["", ""])
        await change_prompts(server, "new")
        assert await told(streams) == [TOLD["prompts"]] * 4
        await closed(*streams)


async def test_check_80_a_changed_middleware_is_told_to_those_for_whom_it_changes_something(middlewares: Any) -> None:
    server, other = RawServer("modern", ("one", "two")), RawServer("modern", ("one", "two"))
    async with served(server) as here, served(other) as there:

        def document(*names: str, **of: list[str]) -> dict[str, Any]:
            servers = {
                "raw": {"url": f"http://127.0.0.1:{here}/mcp"},
                "first": {"url": f"http://127.0.0.1:{there}/mcp"},
            }
            chosen = {name: servers[name] for name in names}
            return document_of(chosen, {"middlewares": [hidden(**of)] if of else []})

        async with gateway_for(document("raw", A=["none"])) as running:
            a, b = await listening_as(running, KEY_A), await listening_as(running, KEY_B)

            def apply(changed: dict[str, Any]) -> None:
                running.gateway.apply(compile_document(changed, environ={}))

            apply(document("raw", B=["two"]))
            assert await told(b) == [TOLD["tools"]] * 2
            # Nobody sees anything of the server that comes first now, so the places of all others are no change.
            apply(document("first", "raw", A=["one", "two"], B=["one", "two"]))
            assert await told([*a, *b]) == [TOLD["tools"]] * 4
            seen = len(middlewares.asked)
            apply(document("raw", A=["one", "two"], B=["one", "two"]))
            await until(lambda: len(middlewares.asked) == seen + 2)
            # Without middlewares, the change is one for both again.
            apply(document("raw"))
            assert await told([*a, *b]) == [TOLD["tools"]] * 4
            await change_prompts(server, "last")
            assert await told([*a, *b]) == [TOLD["prompts"]] * 4
            await closed(*a, *b)


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_an_error_in_the_place_of_a_list_is_a_change_once_and_holds_nobody_else_up(
    middlewares: Any, trouble: str
) -> None:
    server = RawServer("modern", ("one",))
    async with through([hidden()], raw=server, server_deadline=0.5) as running:
        a, b = await listening_as(running, KEY_A), await listening_as(running, KEY_B)
        await until(lambda: sorted(middlewares.asked) == ["A", "B"])
        middlewares.trouble["B"] = trouble
        await change(server, "one", "two")
        assert await told([*a, *b]) == [TOLD["tools"]] * 4
        await change(server, "one", "two", "three")
        assert await told(a) == [TOLD["tools"]] * 2
        await until(lambda: middlewares.asked.count("B") == 3)
        del middlewares.trouble["B"]
        await change_prompts(server, "new")
        assert await told([*a, *b]) == [TOLD["prompts"]] * 4
        await change(server, "one")
        assert await told([*a, *b]) == [TOLD["tools"]] * 4
        await closed(*a, *b)


async def test_who_listens_while_something_changes_is_told_of_what_comes_after(middlewares: Any) -> None:
    server = RawServer("modern", ("one",))
    async with through([hidden(B=["secret"])], raw=server) as running:
        a = await listening_as(running, KEY_A)
        await until(lambda: middlewares.asked == ["A"])
        await change(server, "one", "secret")
        await told(a)
        b = await listening_as(running, KEY_B)
        await change(server, "one")
        assert await told(a) == [TOLD["tools"]] * 2
        await change(server, "one", "two")
        assert await told([*a, *b]) == [TOLD["tools"]] * 4
        await closed(*a, *b)
        # Whoever has left is of no concern, and may come back.
        await until(lambda: not list(running.gateway.aggregator._listeners))
        [again] = [await listening(running.client("keyed", KEY_B), *KINDS)]
        await change(server, "one", "two", "three")
        assert await told([again]) == [TOLD["tools"]]
        await again.close()
