"""The middlewares of a namespace are data: wrong data is refused with its place, and what is served stays."""

import asyncio
import json
import subprocess
import sys
import zipfile

import pytest

from metamcp_asgi import Gateway, Settings
from metamcp_asgi.aggregate.middleware.registry import names
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.middlewares import document_of_middlewares
from metamcp_asgi.errors import ConfigError
from tests.aggregate.middleware.installing import installed, through
from tests.gateway.running import gateway_over
from tests.gateway.upstreams.raw import RawServer, text_result, tool_named
from tests.places import BIN, ROOT


def document(*middlewares):
    return {
        "mcpServers": {"raw": {"url": "http://127.0.0.1:9/mcp"}},
        "namespaces": {"work": {"servers": ["raw"], "middlewares": list(middlewares)}},
    }


def made(*middlewares):
    return Gateway(compile_document(document(*middlewares), environ={"SIZE": "4096"}), Settings())


@pytest.mark.parametrize(
    ("middleware", "place", "reason"),
    [
        ("limt", "", "unknown middleware 'limt'; did you mean \"limit\""),
        ("zzzzz", "", "unknown middleware 'zzzzz'; there are audit, cache, limit, rate_limit, redact, retry, validate"),
        ({"limit": {"maxByte": 1}}, ".limit", 'has an unknown key "maxByte"; did you mean "maxBytes"'),
        ({"limit": {"maxBytes": "many"}}, ".limit.maxBytes", "expected `int`"),
        ({"limit": {"maxBytes": 1}}, ".limit.maxBytes", "expected `int` >= 256"),
        ({"limit": {"action": "drop"}}, ".limit.action", "invalid enum value 'drop'"),
        ({"redact": {"patterns": ["x", "(a+)+$"]}}, ".redact.patterns[1]", "a repeat within a repeat"),
        ({"redact": {"patterns": ["a+"]}}, ".redact.patterns[0]", "write one, such as {1,200}"),
        ({"redact": {"patterns": [r"(a)\1"]}}, ".redact.patterns[0]", "backreference"),
        ({"redact": {"patterns": ["(?:a|aa){1,30}$"]}}, ".redact.patterns[0]", "an alternative within a repeat"),
        ({"redact": {"patterns": ["a{0,200}a{0,200}b"]}}, ".redact.patterns[0]", "can match in 40401 ways"),
        ({"redact": {"patterns": ["["]}}, ".redact.patterns[0]", "is no regular expression"),
        ({"redact": {"patterns": ["x{0,5}"]}}, ".redact.patterns[0]", "matches the empty text"),
        ({"retry": {"attempts": 99}}, ".retry.attempts", "expected `int` <= 10"),
        ({"audit": {"level": 1}}, ".audit", "takes no options"),
        (7, "", "must be a name, or an object of one name and its options"),
        ({"limit": {}, "audit": {}}, "", "must be a name, or an object of one name and its options"),
        ({"limit": 5}, ".limit", "must be an object, not a number"),
    ],
)
def test_a_fault_is_named_with_its_place(middleware, place, reason):
    with pytest.raises(ConfigError) as caught:
        made("audit", middleware)
    assert caught.value.path == f"namespaces.work.middlewares[1]{place}"
    assert reason in caught.value.reason


def test_what_validation_needs_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(ConfigError, match=r"namespaces\.work\.middlewares\[0\].*'metamcp-asgi\[validation\]'"):
        made("validate")


def test_options_may_come_from_the_environment_and_be_left_out():
    specs = made({"limit": {"maxBytes": "${SIZE}"}}, {"audit": None}).snapshot.namespaces["work"].middlewares
    assert document_of_middlewares(specs) == [{"limit": {"maxBytes": "4096"}}, "audit"]


def test_jsonschema_is_imported_only_when_used():
    code = (
        "import sys; from metamcp_asgi import Gateway, Settings;"
        "from metamcp_asgi.config.file import compile_document;"
        f"Gateway(compile_document({document('limit')!r}), Settings()); print('jsonschema' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


async def test_a_faulty_change_leaves_what_is_served():
    raw = RawServer()
    async with gateway_over({"raw": raw}) as running:
        before = running.gateway.snapshot
        faulty = document("limt")
        faulty["mcpServers"] = {}
        faulty["namespaces"]["work"]["servers"] = []
        with pytest.raises(ConfigError, match="limt"):
            running.gateway.apply(compile_document(faulty))
        assert running.gateway.snapshot is before
        assert not (await running.client().call("raw__echo")).result().get("isError")


async def test_reload_and_check_name_the_file(tmp_path, caplog):
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps(document("audit")))
    gateway = Gateway.from_file(path, Settings())
    path.write_text(json.dumps(document("limt")))
    assert not await gateway.reload()
    assert f"{path}: namespaces.work.middlewares[0]: names an unknown middleware 'limt'" in caplog.text
    with pytest.raises(ConfigError, match=r"mcp\.json: namespaces\.work"):
        Gateway.from_file(path, Settings())
    command = [BIN / "metamcp", "check", path]
    checked = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert f"metamcp: {path}: namespaces.work.middlewares[0]: names an unknown middleware" in checked.stderr


class TestEntryPoints:
    def test_a_package_that_cannot_be_imported(self, tmp_path, monkeypatch):
        with (
            installed(tmp_path, monkeypatch, "mw_broken", "raise RuntimeError('no luck')", broken="Broken"),
            pytest.raises(
                ConfigError, match=r"middlewares\[0\]: 'broken' \(mw_broken:Broken\) cannot be loaded: no luck"
            ),
        ):
            made("broken")

    def test_something_that_is_no_middleware(self, tmp_path, monkeypatch):
        with (
            installed(tmp_path, monkeypatch, "mw_none", "class Nothing: pass", nothing="Nothing"),
            pytest.raises(ConfigError, match="is no class with any of call_tool"),
        ):
            made("nothing")

    async def test_the_example_package(self, tmp_path, monkeypatch):
        """Built as a wheel and put on the path, so that it is found as any installed package is."""
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist"]
        command = [*build, ROOT / "examples" / "middleware_package"]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        (wheel,) = (tmp_path / "dist").glob("*.whl")
        zipfile.ZipFile(wheel).extractall(tmp_path / "site")
        monkeypatch.syspath_prepend(tmp_path / "site")
        assert "caller" in names()
        schema = {"type": "object", "properties": {"text": {"type": "string"}, "author": {"type": "string"}}}
        schema["required"] = ["text", "author"]
        raw = RawServer(tools=(tool_named("note", inputSchema=schema), "plain"))
        raw.behaviour["tools/call"] = lambda seen: text_result(json.dumps(seen.params["arguments"]))
        async with through([{"caller": {"argument": "author"}}], raw=raw) as running:
            client = running.client("keyed", "sk_mt_acceptance_aaaaaaaaaaaa")
            note, plain = (await client.modern("tools/list")).result()["tools"]
            assert note["inputSchema"]["properties"] == {"text": {"type": "string"}}
            assert note["inputSchema"]["required"] == ["text"]
            assert plain["name"] == "raw__plain"
            told = (await client.call("raw__note", {"text": "hi"})).result()["content"][0]["text"]
            assert json.loads(told) == {"text": "hi", "author": "A"}
            told = (await client.call("raw__plain", {"text": "hi"})).result()["content"][0]["text"]
            assert json.loads(told) == {"text": "hi"}
