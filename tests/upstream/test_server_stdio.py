"""The life of a stdio server behind a gateway: slow starts, crashes, restarts."""

import asyncio
import json

import pytest

from metamcp_asgi.settings import Settings
from metamcp_asgi.upstream import channel_session as channel_module
from metamcp_asgi.upstream import server as server_module
from tests.serving import gateway, until
from tests.stdio import stdio
from tests.upstream.child.children import exists, vanished


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(server_module, "BACKOFF", (0.05, 0.1))
    monkeypatch.setattr(server_module, "ASK_AGAIN", 0.02)


async def test_one_that_ends_at_start_is_failed_with_its_last_words_and_the_others_are_served():
    bad = stdio(exit=7, stderr="cannot open the database\ngiving up\n")
    async with gateway({"bad": bad, "good": stdio()}) as g:
        await g.ready()
        server = g.server("bad")
        assert server.state != "ready"  # failed, or being tried again
        assert "exited with code 7" in server.error
        assert server.stderr.splitlines()[-2:] == ["cannot open the database", "giving up"]
        assert "good__echo" in await g.tools()
        assert "code 7" in (await g.missing())["bad"]
        failed = await g.call("bad__echo")
        assert failed["isError"]
        assert "bad" in failed["content"][0]["text"]
        assert "database" not in json.dumps(failed), "what a server writes to stderr is for the operator"


async def test_a_command_that_does_not_exist():
    async with gateway({"bad": {"command": "no-such-command-here"}, "good": stdio()}) as g:
        await g.ready()
        assert "no-such-command-here" in (await g.missing())["bad"]
        assert "good__echo" in await g.tools()


async def test_a_slow_one_delays_the_first_list_no_longer_than_the_deadline(tmp_path):
    gate = tmp_path / "gate"
    servers = {"slow": stdio(wait_for=gate), "good": stdio()}
    async with gateway(servers, Settings(server_deadline=0.2)) as g, g.listening() as changes:
        await g.ready("good")
        async with asyncio.timeout(15):
            assert "good__echo" in await g.tools()
        assert await g.missing() == {"slow": "is starting"}
        gate.touch()
        while "slow__echo" not in await g.tools():
            await changes.of_method("notifications/tools/list_changed")
        assert await g.missing() == {}


async def test_a_crash_during_a_call_fails_that_call_and_the_next_one_works(tmp_path):
    log = tmp_path / "log"
    async with gateway({"s": stdio(log=log)}) as g:
        pid = await g.text("s__pid")
        failed = await g.call("s__crash")
        assert failed["isError"]
        assert "exited with code 3" in failed["content"][0]["text"]
        assert await g.text("s__pid") != pid
        assert log.read_text().split() == ["pid", "crash", "pid"], "what may have been executed is not repeated"
        assert await vanished(int(pid))


async def test_calls_in_flight_when_it_crashes_all_fail_at_once(tmp_path):
    async with gateway({"s": stdio()}) as g:
        await g.ready()
        waiting = [asyncio.create_task(g.call("s__slow", until=str(tmp_path / "never"))) for _ in range(5)]
        await until(lambda: g.server("s")._busy._calls == 5)
        await g.call("s__crash")
        async with asyncio.timeout(30):
            assert all(result["isError"] for result in await asyncio.gather(*waiting))


async def test_leaving_with_exit_code_0_is_a_loss_too():
    async with gateway({"s": stdio()}) as g:
        pid = await g.text("s__pid")
        failed = await g.call("s__leave")
        assert "exited with code 0" in failed["content"][0]["text"]
        assert await g.text("s__pid") != pid


async def test_it_is_restarted_without_being_asked(tmp_path):
    async with gateway({"s": stdio()}) as g:
        pid = await g.text("s__pid")
        await g.call("s__crash")
        await until(lambda: g.server("s").state == "ready")
        assert await g.text("s__pid") != pid
        assert await g.missing() == {}


async def test_restarts_pause_longer_and_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "BACKOFF", (0.01, 30.0))
    starts = tmp_path / "starts"
    failing = {"command": "/bin/sh", "args": ["-c", f"echo >> {starts}; exit 1"]}
    async with gateway({"s": failing}, Settings(server_deadline=20.0)) as g:
        await until(lambda: starts.exists() and starts.read_text() == "\n\n" and g.server("s").state == "failed")
        # The first pause was short, the second one is not over yet, and no list waits for it.
        await asyncio.sleep(0.3)
        assert starts.read_text() == "\n\n"
        async with asyncio.timeout(15):
            assert await g.tools() == []


async def test_a_call_does_not_wait_for_the_pause_to_be_over(tmp_path, monkeypatch):
    monkeypatch.setattr(server_module, "BACKOFF", (30.0,))
    gate = tmp_path / "installed"
    command = {"command": "/bin/sh", "args": ["-c", f'test -e {gate} && exec "$@" || exit 1', "sh"]}
    working = stdio()
    command["args"] += [working["command"], *working["args"]]
    gate.touch()
    async with gateway({"s": command}) as g:
        await g.ready()
        gate.unlink()
        await g.call("s__crash")
        assert (await g.call("s__echo"))["isError"]
        gate.touch()
        await asyncio.sleep(0.03)
        assert await g.text("s__echo") == "{}"


async def test_its_environment_is_what_children_get_and_its_own(monkeypatch):
    monkeypatch.setenv("GATEWAY_SECRET", "not for children")
    async with gateway({"s": {**stdio(), "env": {"OWN": "value"}}}) as g:
        environ = json.loads(await g.text("s__environ"))
    assert environ["OWN"] == "value"
    assert "GATEWAY_SECRET" not in environ
    assert "PATH" in environ


async def test_no_more_children_than_allowed():
    servers = {"a": stdio(), "b": stdio()}
    async with gateway(servers, Settings(max_children=1, connect_concurrency=1)) as g:
        await g.ready()
        missing = await g.missing()
        assert len(missing) == 1
        assert "METAMCP_MAX_CHILDREN" in next(iter(missing.values()))


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_a_change_of_its_tools_reaches_the_clients(tmp_path, era):
    names = tmp_path / "tools"
    names.write_text("")
    async with gateway({"s": stdio(era=era, tools_file=names)}) as g:
        await g.ready()
        client = await g.session()
        async with client.listening() as changes:
            names.write_text("brand_new")
            await g.call("s__announce")
            await changes.of_method("notifications/tools/list_changed")
            assert "s__brand_new" in await g.tools()


async def test_what_changed_while_its_listen_stream_was_ended_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(channel_module, "LISTEN_AGAIN", 0.05)
    names = tmp_path / "tools"
    names.write_text("")
    async with gateway({"s": stdio(era="modern", tools_file=names)}) as g:
        await g.ready()
        async with g.listening() as changes:
            await g.call("s__hang_up")
            names.write_text("brand_new")
            await changes.of_method("notifications/tools/list_changed")
            assert "s__brand_new" in await g.tools()


async def test_its_child_is_gone_with_the_gateway():
    async with gateway({"s": stdio()}) as g:
        pid = int(await g.text("s__pid"))
        assert exists(pid)
    assert not exists(pid)
