"""Each of our own middlewares, over real HTTP in front of servers whose every answer the test decides."""

import asyncio
import hashlib
import json
import logging
import time
from typing import ClassVar

import pytest

from metamcp_asgi.aggregate.middleware.patterns import matches_in_time
from metamcp_asgi.aggregate.middleware.redact import Redact, RedactOptions
from tests.aggregate.middleware.installing import through
from tests.gateway.running import KEY_A, KEY_B
from tests.gateway.upstreams.raw import Broken, Error, RawServer, Stream, text_result, tool_named


def text(answer):
    return answer.result()["content"][0]["text"]


def schema(**more):
    return {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], **more}


class TestValidate:
    async def test_wrong_arguments_never_reach_the_server(self):
        nested = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object", **schema()}}}}
        raw = RawServer(tools=(tool_named("t", inputSchema=nested),), behaviour={"tools/call": text_result("done")})
        async with through(["validate"], raw=raw) as running:
            for client in (running.client(), await running.client().session()):
                wrong = (await client.call("raw__t", {"a": [{"n": 1}, {"n": "x"}]})).result()
                assert wrong["isError"]
                assert wrong["content"][0]["text"] == (
                    "Invalid arguments for tool raw__t: arguments.a[1].n: 'x' is not of type 'integer'"
                )
                assert raw.count("tools/call") == 0
            assert text(await running.client().call("raw__t", {"a": [{"n": 1}]})) == "done"

    async def test_a_schema_that_changes_counts_at_once(self):
        raw = RawServer(tools=(tool_named("t", inputSchema=schema()),), behaviour={"tools/call": text_result("done")})
        async with through(["validate"], raw=raw) as running:
            client = running.client()
            assert text(await client.call("raw__t", {"n": 1})) == "done"
            looser = tool_named("t", inputSchema={"type": "object", "properties": {"n": {"type": "string"}}})
            raw.behaviour["tools/list"] = raw.listed("tools", [looser])
            await raw.announce("tools")
            async with asyncio.timeout(30):
                while text(await client.call("raw__t", {"n": "x"})) != "done":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async def test_nothing_is_ever_fetched(self):
        """eras.md 4, test 52: TO-05."""
        fetched = asyncio.Event()

        async def canary(reader, writer):
            fetched.set()
            writer.close()

        listener = await asyncio.start_server(canary, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/schema.json"
        remote = {"type": "object", "properties": {"n": {"$ref": url}}}
        raw = RawServer(tools=(tool_named("t", inputSchema=remote),))
        async with listener, through(["validate"], raw=raw) as running:
            answer = (await running.client().call("raw__t", {"n": 1})).result()
            assert answer["isError"]
            assert f"refers to '{url}', which is not in it and is never fetched" in answer["content"][0]["text"]
        assert not fetched.is_set()
        assert raw.count("tools/call") == 0

    @pytest.mark.parametrize(
        ("given", "arguments", "said"),
        [
            # Two to the power of thirty references.
            (
                {
                    "type": "object",
                    "$defs": {
                        **{f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(30)},
                        "a30": {"type": "object"},
                    },
                    "$ref": "#/$defs/a0",
                },
                {},
                "too much work",
            ),
            ({"type": "object", "$ref": "#"}, {}, "too much work"),
            (
                {"type": "object", "properties": {"s": {"type": "string", "pattern": "^(a+)+$"}}},
                {"s": "a" * 60 + "!"},
                "",
            ),
            ({"type": "object", "properties": {"s": {"pattern": r"\s+$"}}}, {"s": " " * 100_000 + "x"}, ""),
            ({"type": "object", "patternProperties": {"^(a+)+$": False}}, {"a" * 60 + "!": 1}, ""),
            (
                {"type": "object", "properties": {"l": {"uniqueItems": True}}},
                {"l": [{"i": i} for i in range(20_000)]},
                "",
            ),
        ],
        ids=["many references", "endless reference", "slow pattern", "slower pattern", "slow name", "many items"],
    )
    async def test_no_schema_takes_for_ever(self, given, arguments, said):
        raw = RawServer(tools=(tool_named("t", inputSchema=given),), behaviour={"tools/call": text_result("done")})
        async with through(["validate"], raw=raw) as running:
            started = time.monotonic()
            answer = text(await running.client().call("raw__t", arguments))
            assert time.monotonic() - started < 20
            assert said in answer
            assert said or answer == "done"

    async def test_patterns_and_unique_items_are_checked(self):
        given = {"type": "object", "properties": {"s": {"pattern": "^[a-z]+-[0-9]+$"}, "l": {"uniqueItems": True}}}
        raw = RawServer(tools=(tool_named("t", inputSchema=given),), behaviour={"tools/call": text_result("done")})
        async with through(["validate"], raw=raw) as running:
            call = running.client().call
            assert text(await call("raw__t", {"s": "ab-12", "l": [1, True, "1"]})) == "done"
            assert "arguments.s: 'ab' does not match" in text(await call("raw__t", {"s": "ab"}))
            assert "arguments.l: has elements that are not unique" in text(await call("raw__t", {"l": [1, 1.0]}))

    async def test_other_dialects_and_too_long_arguments(self):
        draft7 = schema(**{"$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"n": ["m"]}})
        raw = RawServer(tools=(tool_named("t", inputSchema=draft7),), behaviour={"tools/call": text_result("done")})
        async with through([{"validate": {"maxBytes": 1024}}], raw=raw) as running:
            call = running.client().call
            assert "'m' is a dependency of 'n'" in text(await call("raw__t", {"n": 1}))
            assert "1024 are the most allowed" in text(await call("raw__t", {"n": 1, "m": "x" * 2000}))
            assert text(await call("raw__t", {"n": 1, "m": 1})) == "done"


class TestLimit:
    async def test_too_long_results_are_refused(self):
        raw = RawServer(behaviour={"tools/call echo": lambda seen: text_result("x" * seen.params["arguments"]["n"])})
        raw.behaviour["resources/list"] = raw.listed("resources", [{"uri": "r:1", "name": "r"}])
        raw.behaviour["resources/read"] = {"contents": [{"uri": "r:1", "text": "x" * 999}]}
        async with through([{"limit": {"maxBytes": 600}}], raw=raw) as running:
            client = running.client()
            assert text(await client.call("raw__echo", {"n": 400})) == "x" * 400
            answer = (await client.call("raw__echo", {"n": 1000})).result()
            assert answer["isError"]
            assert "600 are the most allowed" in answer["content"][0]["text"]
            assert (
                "600 are the most allowed" in (await client.modern("resources/read", {"uri": "r:1"})).error()["message"]
            )

    async def test_texts_are_cut(self):
        content = [{"type": "text", "text": "ü" * 300}, {"type": "text", "text": '"' * 900}]
        raw = RawServer(behaviour={"tools/call echo": {"content": content, "structuredContent": {"x": "y" * 500}}})
        image = {"content": [{"type": "image", "data": "A" * 2000, "mimeType": "image/png"}]}
        raw.behaviour["tools/list"] = raw.listed("tools", [tool_named("echo"), tool_named("image")])
        raw.behaviour["tools/call image"] = image
        async with through([{"limit": {"maxBytes": 1000, "action": "truncate"}}], raw=raw) as running:
            result = (await running.client().call("raw__echo")).result()
            first, second = result["content"]
            assert first["text"] == "ü" * 300
            assert second["text"].startswith('"')
            assert second["text"].endswith(" more characters were cut off by the gateway]")
            assert "structuredContent" not in result
            assert len(json.dumps(result["content"], ensure_ascii=False).encode()) <= 1000
            assert (await running.client().call("raw__image")).result()["isError"]


SECRETS = {
    "github": "ghp_" + "a1B2" * 9,
    "aws": "AKIA" + "ABCDEFGH12345678",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
    "key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    "url": "postgres://user:hunter2secret@db/x",
}


class TestRedact:
    @pytest.mark.parametrize("kind", SECRETS)
    async def test_known_secrets_are_taken_out_wherever_they_are(self, kind):
        secret = SECRETS[kind]
        result = text_result(f"see {secret} here", structuredContent={"deep": [{secret: secret}], "n": 1})
        result["content"].append({"type": "resource", "resource": {"uri": "r:1", "text": secret}})
        raw = RawServer(behaviour={"tools/call": result})
        raw.behaviour["tools/call bad"] = Error(-32000, f"no {secret}", {"why": secret})
        raw.behaviour["tools/list"] = raw.listed("tools", [tool_named("echo"), tool_named("bad")])
        raw.behaviour["tools/call echo"] = result
        async with through(["redact"], raw=raw) as running:
            marker = "hunter2secret" if kind == "url" else secret
            for name in ("raw__echo", "raw__bad"):
                answer = await running.client().call(name)
                assert marker.encode() not in answer.body
                assert json.dumps(marker).strip('"').encode() not in answer.body
                assert b"[redacted]" in answer.body

    async def test_own_patterns_and_what_stays(self):
        result = text_result("ticket ABC-1234, ghp_short", structuredContent={"id": "ABC-9"})
        result["content"].append({"type": "image", "data": "QUJDLTEyMzQ=", "mimeType": "image/png"})
        raw = RawServer(behaviour={"tools/call echo": result})
        options = {"builtIn": False, "patterns": ["ABC-[0-9]{1,6}"], "replacement": r"\1"}
        async with through([{"redact": options}], raw=raw) as running:
            answer = (await running.client().call("raw__echo")).result()
            assert answer["content"][0]["text"] == r"ticket \1, ghp_short"
            assert answer["content"][1]["data"] == "QUJDLTEyMzQ="
            assert answer["structuredContent"] == {"id": r"\1"}

    def test_no_text_takes_for_ever(self):
        redact = Redact(RedactOptions(patterns=["[a-z]{1,900}!"]))
        started = time.monotonic()
        for bad in ("eyJ" * 30_000, "-----BEGIN " * 9_000, "://" * 30_000, "://" + "a:" * 45_000, "sk-" * 30_000):
            redact.text(bad)
        assert "too long to be looked at" in redact.text("a" * 300_000)
        assert time.monotonic() - started < 20

    def test_which_patterns_end_in_time(self):
        assert matches_in_time("^[a-z]+-[0-9]+$", 60)
        assert not matches_in_time("^[a-z]+-[0-9]+$", 100_000)
        assert not matches_in_time("(a+)+$", 60)
        assert not matches_in_time("(a|aa)+$", 60)
        assert not matches_in_time("[", 5)


class TestAudit:
    @pytest.fixture
    def lines(self, caplog):
        caplog.set_level(logging.INFO, "metamcp.audit")
        return lambda: [json.loads(r.message) for r in caplog.records if r.name == "metamcp.audit"]

    async def test_who_called_what_with_which_outcome_and_no_value(self, lines, caplog):
        answers = {"ok": text_result("x"), "bad": text_result("x", isError=True), "no": Error(-32000, "no")}
        raw = RawServer(tools=tuple(answers))
        raw.behaviour |= {f"tools/call {name}": answer for name, answer in answers.items()}
        raw.behaviour["prompts/list"] = raw.listed("prompts", [{"name": "p"}])
        raw.behaviour["prompts/get"] = {"messages": []}
        async with through(["audit"], raw=raw, namespace={"tools": {"raw__off": {"enabled": False}}}) as running:
            client = running.client("keyed", KEY_A)
            arguments = {"password": "hunter2"}
            for name in (*answers, "unknown"):
                await client.call(f"raw__{name}", arguments)
            await client.modern("prompts/get", {"name": "raw__p"})
            raw.down = True
            await client.call("raw__ok", arguments)
        told = lines()
        assert [(line.get("tool"), line["outcome"]) for line in told] == [
            ("raw__ok", "ok"),
            ("raw__bad", "tool_error"),
            ("raw__no", "error -32603"),
            ("raw__unknown", "unknown"),
            (None, "ok"),
            ("raw__ok", "error"),
        ]
        first = told[0]
        assert (first["principal"], first["endpoint"], first["namespace"]) == ("key:A", "keyed", "all")
        assert (first["method"], first["server"]) == ("tools/call", "raw")
        assert first["arguments_sha256"] == hashlib.sha256(json.dumps(arguments).encode()).hexdigest()
        assert first["ms"] >= 0
        assert told[4]["prompt"] == "raw__p"
        assert "hunter2" not in "".join(r.getMessage() for r in caplog.records if r.name == "metamcp.audit")


def failing_once(fault):
    calls = []

    def behave(seen):
        calls.append(seen)
        return fault if len(calls) == 1 else text_result("done")

    return calls, behave


async def _nothing():
    raise Broken
    yield b""


class TestRetry:
    OPTIONS: ClassVar = {"backoffSeconds": 0.01, "trustAnnotations": True}

    @pytest.mark.parametrize(
        ("annotations", "options", "calls"),
        [
            ({"idempotentHint": True}, OPTIONS, 2),
            ({"readOnlyHint": True}, OPTIONS, 2),
            ({}, OPTIONS, 1),
            ({"idempotentHint": True}, {"backoffSeconds": 0.01}, 1),
            ({"idempotentHint": True}, {**OPTIONS, "attempts": 1}, 1),
        ],
    )
    async def test_only_what_is_trusted_to_be_repeatable(self, annotations, options, calls):
        """T-35: the response stream breaks after the request was sent."""
        raw = RawServer(tools=(tool_named("t", annotations=annotations),))
        made, raw.behaviour["tools/call t"] = failing_once(Stream(_nothing(), broken=True))
        async with through([{"retry": options}], raw=raw) as running:
            answer = (await running.client().call("raw__t")).result()
            assert len(made) == calls
            assert answer.get("isError", False) == (calls == 1)

    async def test_an_annotation_of_the_namespace_counts(self):
        raw = RawServer(tools=("t",))
        made, raw.behaviour["tools/call t"] = failing_once(Stream(_nothing(), broken=True))
        namespace = {"tools": {"raw__t": {"annotations": {"idempotentHint": True}}}}
        async with through([{"retry": self.OPTIONS}], raw=raw, namespace=namespace) as running:
            assert text(await running.client().call("raw__t")) == "done"
            assert len(made) == 2

    async def test_a_call_that_takes_too_long_is_ended(self):
        async def never(seen):
            await asyncio.Event().wait()

        raw = RawServer(behaviour={"tools/call echo": never})
        async with through([{"retry": {"timeoutSeconds": 0.2}}], raw=raw) as running:
            answer = (await running.client().call("raw__echo")).result()
            assert answer["isError"]
            assert answer["content"][0]["text"] == "Server 'raw' did not answer within 0.2 seconds"
            async with asyncio.timeout(30):
                assert (await raw.disconnected.get()).method == "tools/call"


class TestCache:
    READS: ClassVar = {"readOnlyHint": True, "idempotentHint": True}

    def counting(self, **annotations):
        raw = RawServer(tools=(tool_named("t", annotations=annotations),))
        raw.behaviour["tools/call t"] = lambda seen: text_result(str(raw.count("tools/call")))
        return raw

    async def test_tools_that_only_read_where_that_is_trusted(self):
        raw = self.counting(**self.READS)
        async with through([{"cache": {"trustAnnotations": True}}], raw=raw) as running:
            client = running.client("keyed", KEY_A)
            assert [text(await client.call("raw__t", {"n": n})) for n in (1, 1, 2, 1)] == ["1", "1", "2", "1"]
            assert text(await running.client("keyed", KEY_B).call("raw__t", {"n": 1})) == "3", "another principal"
            assert text(await client.call("raw__t", {"n": 1}, meta={"tenant": "x"})) == "4", "another _meta"

    @pytest.mark.parametrize(
        ("options", "annotations"),
        [({}, READS), ({"trustAnnotations": True}, {"readOnlyHint": True}), ({"trustAnnotations": True}, {})],
    )
    async def test_no_others(self, options, annotations):
        raw = self.counting(**annotations)
        async with through([{"cache": options}], raw=raw) as running:
            client = running.client()
            assert [text(await client.call("raw__t")) for _ in range(2)] == ["1", "2"]

    async def test_tools_that_are_named_until_their_time_is_over(self):
        raw = self.counting()
        async with through([{"cache": {"tools": ["raw__t"], "ttlSeconds": 1.5}}], raw=raw) as running:
            client = running.client()
            assert [text(await client.call("raw__t")) for _ in range(2)] == ["1", "1"]
            await asyncio.sleep(1.55)
            assert text(await client.call("raw__t")) == "2"

    async def test_errors_are_never_kept(self):
        raw = RawServer(tools=("t",))
        made, raw.behaviour["tools/call t"] = failing_once(text_result("no", isError=True))
        async with through([{"cache": {"tools": ["raw__t"]}}], raw=raw) as running:
            client = running.client()
            assert [text(await client.call("raw__t")) for _ in range(3)] == ["no", "done", "done"]
            assert len(made) == 2

    async def test_a_change_of_a_list_forgets_everything(self):
        """CA-05."""
        raw = self.counting()
        async with through([{"cache": {"tools": ["raw__t"]}}], raw=raw) as running:
            client = running.client()
            assert [text(await client.call("raw__t")) for _ in range(2)] == ["1", "1"]
            raw.behaviour["resources/list"] = raw.listed("resources", [{"uri": "new:1", "name": "new"}])
            await raw.announce("resources")
            async with asyncio.timeout(30):
                while text(await client.call("raw__t")) == "1":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    @pytest.mark.parametrize(("scope", "reads"), [("public", 1), ("private", 2)])
    async def test_resources_by_what_their_server_says(self, scope, reads):
        """eras.md 4, test 40: CA-03."""
        raw = RawServer()
        raw.behaviour["resources/list"] = raw.listed("resources", [{"uri": "r:1", "name": "r"}])
        raw.behaviour["resources/read"] = {
            "contents": [],
            "ttlMs": 60_000,
            "cacheScope": scope,
            "resultType": "complete",
        }
        async with through(["cache"], raw=raw) as running:
            for key in (KEY_A, KEY_B, KEY_A):
                answer = (await running.client("keyed", key).modern("resources/read", {"uri": "r:1"})).result()
                assert 0 < answer["ttlMs"] <= 60_000
                assert answer["cacheScope"] == scope
            assert raw.count("resources/read") == reads

    @pytest.mark.parametrize("hints", [{"ttlMs": 0, "cacheScope": "public"}, {"cacheScope": "public"}, {}])
    async def test_resources_without_a_time_are_read_again(self, hints):
        raw = RawServer()
        raw.behaviour["resources/list"] = raw.listed("resources", [{"uri": "r:1", "name": "r"}])
        raw.behaviour["resources/read"] = {"contents": [], **hints}
        async with through(["cache"], raw=raw) as running:
            for _ in range(2):
                await running.client().modern("resources/read", {"uri": "r:1"})
            assert raw.count("resources/read") == 2

    async def test_no_more_is_kept_than_allowed(self):
        raw = RawServer(tools=("t",))
        raw.behaviour["tools/call t"] = lambda seen: text_result("x" * 700)
        async with through([{"cache": {"tools": ["raw__t"], "maxBytes": 2500}}], raw=raw) as running:
            client = running.client()
            for n in (1, 2, 1, 3, 1, 2):
                await client.call("raw__t", {"n": n})
            # The second was used least recently when the third came.
            assert [seen.params["arguments"]["n"] for seen in raw.seen if seen.method == "tools/call"] == [1, 2, 3, 2]
