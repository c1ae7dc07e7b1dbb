"""Advertised is callable, and nothing else is, whatever middlewares a namespace has, in whatever order."""

import asyncio
import json
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.aggregate.middleware.installing import installed, through
from tests.gateway.running import KEY_A
from tests.gateway.upstreams.raw import RawServer, text_result, tool_named

MODULE = """
from msgspec import Struct

class Options(Struct):
    names: list[str] = []

class Hide:
    Options = Options
    def __init__(self, options):
        self.names = options.names
    async def list_tools(self, call, next):
        return [item for item in await next(call) if item.own_name not in self.names]

class HidePrivately(Hide):
    per_principal = True
"""

TOOLS = ["a", "b", "c", "d"]
BUILT_IN = [
    "audit",
    "validate",
    {"limit": {"maxBytes": 5000}},
    {"limit": {"action": "truncate"}},
    "redact",
    {"redact": {"patterns": ["secret [a-z]{1,9}"]}},
    {"retry": {"timeoutSeconds": 5, "trustAnnotations": True}},
    {"cache": {"trustAnnotations": True}},
    {"cache": {"tools": ["raw__a", "raw__b"]}},
]
hiding = st.builds(
    lambda name, names: {name: {"names": names}},
    st.sampled_from(["hide", "hideprivately"]),
    st.lists(st.sampled_from(TOOLS), unique=True, max_size=2),
)
override = st.fixed_dictionaries(
    {"enabled": st.booleans()}, optional={"name": st.sampled_from(["a", "x", "y"]), "title": st.just("t")}
)


@pytest.fixture(scope="module", autouse=True)
def _package(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        names = {"hide": "Hide", "hideprivately": "HidePrivately"}
        with installed(tmp_path_factory.mktemp("site"), patch, "mw_hide", MODULE, **names):
            yield
    sys.modules.pop("mw_hide", None)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    middlewares=st.lists(st.one_of(st.sampled_from(BUILT_IN), hiding), max_size=6),
    overrides=st.dictionaries(st.sampled_from(TOOLS), override, max_size=3),
    prefix=st.sampled_from(["always", "never", "on-collision"]),
)
def test_any_combination(middlewares, overrides, prefix):
    taken = [each.get("name", tool) for tool, each in overrides.items() if each["enabled"]]
    if len({*taken, *(t for t in TOOLS if t not in overrides)}) < len(taken) + len(TOOLS) - len(overrides):
        return  # two tools of one name are refused before
    asyncio.run(check(middlewares, {f"raw__{tool}": each for tool, each in overrides.items()}, prefix))


async def check(middlewares, overrides, prefix):
    hints = {"readOnlyHint": True, "idempotentHint": True}
    raw = RawServer(tools=tuple(tool_named(name, annotations=hints) for name in TOOLS))
    raw.behaviour["tools/call"] = lambda seen: text_result(seen.params["name"])
    namespace = {"tools": overrides, "prefix": prefix}
    async with through(middlewares, raw=raw, namespace=namespace) as running:
        for client in (running.client(), running.client("keyed", KEY_A)):
            listed = (await client.modern("tools/list")).result()["tools"]
            owners = {tool["name"]: tool["description"].removeprefix("The tool ") for tool in listed}
            assert len(owners) == len(listed)
            for name, own in owners.items():
                result = (await client.call(name)).result()
                assert not result.get("isError"), result
                assert result["content"][0]["text"] == own
            for name in {p + n for p in ("raw__", "") for n in (*TOOLS, "x", "y", "z")} - owners.keys():
                before = raw.count("tools/call")
                answer = (await client.call(name)).message()
                if "error" in answer or answer["result"].get("isError"):
                    assert raw.count("tools/call") == before
                else:
                    own = answer["result"]["content"][0]["text"]
                    assert own in owners.values(), f"{name} leads to {own}, which is not listed: {json.dumps(owners)}"
