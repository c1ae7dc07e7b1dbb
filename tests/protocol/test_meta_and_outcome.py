"""``_meta`` and results between the eras: what is added, what is taken away, and what stays as it is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
    methods,
    version,
)
from mcp_types import (
    jsonrpc as sdk,
)
from msgspec import Raw

from metamcp_asgi.protocol import headers, jsonrpc, meta, outcome, revisions
from metamcp_asgi.protocol.outcome import Failure, Result
from tests.protocol.documents import RAW, TEXT, VALUES, read

SERVER_INFO = Raw(b'{"name":"gateway","version":"1"}')
_KEYS = st.sampled_from(["content", "isError", "structuredContent", "resultType", "ttlMs", "cacheScope"]) | TEXT
_METAS = st.dictionaries(st.sampled_from([SERVER_INFO_META_KEY, "progressToken"]) | TEXT, VALUES, max_size=4)
RESULTS = st.builds(
    lambda members, metas: members if metas is None else members | {"_meta": metas},
    st.dictionaries(_KEYS, VALUES, max_size=4).map(lambda members: {k: v for k, v in members.items() if k != "_meta"}),
    st.none() | _METAS,
)


def members_of(value: Any) -> jsonrpc.Members:
    return jsonrpc.decode_members(json.dumps(value).encode())


def plain(members: jsonrpc.Members) -> Any:
    return {name: json.loads(bytes(value)) for name, value in members.items()}


def test_the_names_of_meta_fields_are_the_specifications() -> None:
    assert meta.PROTOCOL_VERSION == PROTOCOL_VERSION_META_KEY
    assert meta.CLIENT_INFO == CLIENT_INFO_META_KEY
    assert meta.CLIENT_CAPABILITIES == CLIENT_CAPABILITIES_META_KEY
    assert meta.LOG_LEVEL == LOG_LEVEL_META_KEY
    assert meta.SERVER_INFO == SERVER_INFO_META_KEY


def test_the_error_codes_are_the_specifications() -> None:
    assert jsonrpc.PARSE_ERROR == sdk.PARSE_ERROR
    assert jsonrpc.INVALID_REQUEST == sdk.INVALID_REQUEST
    assert jsonrpc.METHOD_NOT_FOUND == sdk.METHOD_NOT_FOUND
    assert jsonrpc.INVALID_PARAMS == sdk.INVALID_PARAMS
    assert jsonrpc.INTERNAL_ERROR == sdk.INTERNAL_ERROR
    assert jsonrpc.HEADER_MISMATCH == sdk.HEADER_MISMATCH
    assert jsonrpc.MISSING_CAPABILITY == sdk.MISSING_REQUIRED_CLIENT_CAPABILITY
    assert jsonrpc.UNSUPPORTED_VERSION == sdk.UNSUPPORTED_PROTOCOL_VERSION


def test_the_revisions_are_the_specifications() -> None:
    assert version.HANDSHAKE_PROTOCOL_VERSIONS[::-1] == revisions.LEGACY
    assert version.MODERN_PROTOCOL_VERSIONS[::-1] == revisions.MODERN
    assert version.KNOWN_PROTOCOL_VERSIONS[::-1] == revisions.ALL
    assert revisions.LATEST_LEGACY == version.LATEST_HANDSHAKE_VERSION
    assert revisions.LATEST_MODERN == version.LATEST_MODERN_VERSION


def test_the_methods_are_the_specifications() -> None:
    known = {method for method, revision in methods.CLIENT_REQUESTS if revision in version.MODERN_PROTOCOL_VERSIONS}
    assert known >= revisions.MODERN_METHODS - revisions.TASK_METHODS
    assert "initialize" not in revisions.MODERN_METHODS
    assert "ping" not in revisions.MODERN_METHODS
    lists = {
        method for method in methods.SPEC_CLIENT_METHODS if method.endswith("/list") and not method.startswith("tasks")
    }
    assert set(revisions.LISTS) == lists
    for method, items in revisions.LISTS.items():
        result = methods.SERVER_RESULTS[method, version.LATEST_HANDSHAKE_VERSION]
        assert items in {field.alias or name for name, field in result.model_fields.items()}  # type: ignore[union-attr]


@given(st.sampled_from(revisions.ALL) | VALUES)
def test_a_handshake_agrees_on_the_requested_revision_or_the_latest_one(requested: object) -> None:
    agreed = revisions.negotiate(requested)
    assert agreed in version.HANDSHAKE_PROTOCOL_VERSIONS
    assert agreed == (
        requested if requested in version.HANDSHAKE_PROTOCOL_VERSIONS else version.LATEST_HANDSHAKE_VERSION
    )


@given(
    st.dictionaries(
        st.sampled_from([meta.PROTOCOL_VERSION, meta.CLIENT_INFO, meta.LOG_LEVEL, "progressToken", "x"]) | TEXT, VALUES
    )
)
def test_fields_of_a_hop_end_here_and_all_others_go_on(fields: dict[str, Any]) -> None:
    hop = {meta.PROTOCOL_VERSION, meta.CLIENT_INFO, meta.CLIENT_CAPABILITIES, meta.LOG_LEVEL}
    expected = {name: value for name, value in fields.items() if name not in hop}
    assert plain(meta.end_to_end(members_of(fields))) == expected


@given(RESULTS)
def test_a_modern_result_is_typed_and_signed_and_else_the_same(result: dict[str, Any]) -> None:
    ours = json.loads(meta.modern_result(members_of(result), SERVER_INFO))
    signed = result.get("_meta", {}) | {meta.SERVER_INFO: json.loads(bytes(SERVER_INFO))}
    assert ours == {"resultType": "complete"} | result | {"_meta": signed}


@given(RESULTS)
def test_a_legacy_result_has_nothing_that_its_era_does_not_know(result: dict[str, Any]) -> None:
    ours = json.loads(meta.legacy_result(members_of(result)))
    expected = {
        name: value for name, value in result.items() if name not in ("resultType", "ttlMs", "cacheScope", "_meta")
    }
    kept = {name: value for name, value in result.get("_meta", {}).items() if name != meta.SERVER_INFO}
    assert ours == expected | ({"_meta": kept} if kept else {})


@pytest.mark.parametrize("nothing", [None, [], "", 1])
def test_a_meta_that_is_no_object_does_not_cost_the_result(nothing: object) -> None:
    result = members_of({"content": [], "_meta": nothing})
    assert json.loads(meta.modern_result(dict(result), SERVER_INFO))["_meta"] == {
        meta.SERVER_INFO: json.loads(bytes(SERVER_INFO))
    }
    assert json.loads(meta.legacy_result(dict(result))) == {"content": []}


@given(RAW)
def test_the_rest_of_a_result_keeps_its_bytes_between_the_eras(payload: str) -> None:
    members = jsonrpc.decode_members(f'{{"content":{payload},"_meta":{{"x":{payload}}}}}'.encode())
    for written in (meta.modern_result(dict(members), SERVER_INFO), meta.legacy_result(dict(members))):
        again = jsonrpc.decode_members(written)
        assert bytes(again["content"]) == payload.encode()
        assert bytes(jsonrpc.decode_members(again["_meta"])["x"]) == payload.encode()


@given(TEXT)
def test_a_failed_tool_says_so_to_the_model(text: str) -> None:
    result = outcome.tool_error(text)
    assert read(bytes(result.raw)) == {"content": [{"type": "text", "text": text}], "isError": True}
    assert set(result.split()) == {"content", "isError"}


def test_a_result_is_split_once_for_a_modern_server_and_on_demand_for_a_legacy_one() -> None:
    members = members_of({"a": 1})
    assert Result(b"not even JSON", members).split() is members
    assert plain(Result(b'{"a":1}').split()) == {"a": 1}


@given(TEXT, VALUES)
def test_an_internal_error_keeps_the_servers_own(message: str, data: Any) -> None:
    assert outcome.internal("failed") == Failure(jsonrpc.INTERNAL_ERROR, "failed")
    raw = Raw(json.dumps(data).encode())
    failure = outcome.internal("failed", Failure(-1, message, raw))
    written = json.loads(jsonrpc.error_response(1, failure.code, failure.message, failure.data))
    assert written["error"]["data"] == {"upstream": {"code": -1, "message": message, "data": data}}
    bare = outcome.internal("failed", Failure(-1, message))
    assert bare.data == {"upstream": {"code": -1, "message": message}}


def test_mirrored_methods_are_those_of_the_sdk() -> None:
    from mcp.shared.inbound import MCP_PARAM_HEADER_PREFIX, NAME_BEARING_METHODS

    assert dict(NAME_BEARING_METHODS) == revisions.NAME_OF
    (param,) = headers.param_headers({"properties": {"a": {"type": "string", "x-mcp-header": "A"}}})
    assert param.wire.decode() == f"{MCP_PARAM_HEADER_PREFIX}A"
