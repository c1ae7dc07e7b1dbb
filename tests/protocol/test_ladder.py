"""The order in which a modern request can fail, and the Python SDK's classifier as the oracle for the rungs we share.

Where we differ, we do so on purpose, and only here:

- the SDK goes its modern way for every request; we serve a request that declares nothing and names a legacy revision in
  the header, or none at all, in the legacy way (eras.md 2.1, step 5);
- a version that is no string is a defect of the params to us, before any header is looked at; the SDK calls it a
  mismatch with the header, which always is one;
- a request that is about one thing must name it: we refuse ``tools/call`` without ``name`` at once, the SDK when it
  comes to handle it;
- white space around a header's value is not part of it (T-19); the SDK leaves that to its HTTP server;
- ``Mcp-Method`` and the version may be Base64-wrapped like any mirrored value; the SDK compares them as they are;
- that a method exists is the business of the SDK's dispatcher.
"""

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    InboundLadderRejection,
    InboundModernRoute,
    classify_inbound_request,
    find_duplicated_routing_header,
)
from mcp_types import CLIENT_CAPABILITIES_META_KEY as CAPABILITIES
from mcp_types import PROTOCOL_VERSION_META_KEY as VERSION

from metamcp_asgi import Gateway, Settings
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.protocol.jsonrpc import HEADER_MISMATCH, PARSE_ERROR

MODERN = "2026-07-28"
NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
Headers = list[tuple[str, str]]


class Client:
    """Posts to a gateway that has no servers, in memory."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._gateway = Gateway(compile_document({"mcpServers": {}}, environ={}), Settings())

    def close(self) -> None:
        self._runner.run(self._gateway.aclose())
        self._runner.close()

    def post(self, body: bytes, headers: Headers) -> tuple[int, Any]:
        """Returns status and decoded body of the answer."""
        return self._runner.run(self._post(body, headers))

    async def _post(self, body: bytes, headers: Headers) -> tuple[int, Any]:
        common = [("host", "127.0.0.1"), ("content-type", "application/json"), ("accept", "*/*")]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/metamcp/default/mcp",
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in [*common, *headers]],
            "client": ("127.0.0.1", 40000),
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._gateway(scope, receive, send)
        return sent[0]["status"], json.loads(b"".join(message["body"] for message in sent[1:]))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


_OTHER = st.sampled_from(["x", "", "1900-01-01", "2025-11-25", "=?base64?eA==?=", "=?base64?eA=?="])
_VERSIONS = st.sampled_from([MODERN] * 4 + ["1900-01-01", "2025-11-25", "2025-03-26", "", 7, None])
_METHODS = st.sampled_from(["tools/call", "prompts/get", "resources/read", "tools/list", "server/discover", "no/such"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, Any], Headers]:
    """A modern request with some of its parts wrong, missing or twice."""
    method = draw(_METHODS)
    version = draw(_VERSIONS)
    meta: Any = {VERSION: version, CAPABILITIES: {}, "extra": 1}
    for key in draw(st.sets(st.sampled_from([VERSION, CAPABILITIES]), max_size=1)):
        if draw(st.booleans()):
            del meta[key]
    params: dict[str, Any] = {"_meta": draw(st.sampled_from([meta] * 8 + [{}, None, [], "x"]))}
    target = draw(st.sampled_from(["a__b", "é😀", " a ", "=?base64?eA==?=", "", "a\nb"]))
    if method in NAMES:
        params[NAMES[method]] = target
    headers: dict[str, str] = {"mcp-protocol-version": str(version), "mcp-method": method}
    if method in NAMES:
        headers["mcp-name"] = f"=?base64?{base64.b64encode(target.encode()).decode()}?="
    for name in draw(st.sets(st.sampled_from(sorted(headers)), max_size=1)):
        if draw(st.booleans()):
            del headers[name]
        else:
            headers[name] = draw(_OTHER)
    pairs = list(headers.items())
    if draw(st.integers(0, 9)) == 0 and pairs:
        pairs.append(draw(st.sampled_from(pairs)))
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}, pairs


def legacy(body: dict[str, Any], headers: Headers) -> bool:
    """Tells whether this is no modern request, to us."""
    fields = body["params"]["_meta"]
    version = dict(headers).get("mcp-protocol-version", "")
    return not (isinstance(fields, dict) and VERSION in fields) and (version == "" or version.startswith("2025"))


@given(requests())
@example(
    (
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/list",
            "params": {"_meta": {VERSION: "2025-11-25", CAPABILITIES: {}}},
        },
        [("mcp-protocol-version", "2025-11-25"), ("mcp-method", "tools/list")],
    )
)
def test_a_request_fails_as_the_sdks_classifier_says(client: Client, request_: tuple[dict[str, Any], Headers]) -> None:
    body, headers = request_
    status, answer = client.post(json.dumps(body).encode(), headers)
    assert answer["jsonrpc"] == "2.0"
    if legacy(body, headers):
        assert (status, answer["error"]["code"]) == (400, -32600)
        return
    assert answer["id"] == 1
    if find_duplicated_routing_header(headers) is not None:
        assert (status, answer["error"]["code"]) == (400, HEADER_MISMATCH)
        return
    fields = body["params"]["_meta"]
    if isinstance(fields, dict) and {VERSION, CAPABILITIES} <= set(fields) and not isinstance(fields[VERSION], str):
        assert (status, answer["error"]["code"]) == (400, -32602)
        return
    verdict = classify_inbound_request(body, headers=dict(headers))
    if isinstance(verdict, InboundLadderRejection):
        assert answer["error"]["code"] == verdict.code
        assert status == ERROR_CODE_HTTP_STATUS[verdict.code]
        if verdict.data is not None:
            assert answer["error"]["data"] == verdict.data
        return
    assert isinstance(verdict, InboundModernRoute)
    # The ladder is passed: nothing that comes later has one of its codes.
    code = answer.get("error", {}).get("code", 0)
    assert code not in (HEADER_MISMATCH, -32022)
    assert (status, code) == (404, -32601) if body["method"] == "no/such" else status == 200


DISCOVER: dict[str, Any] = {"_meta": {VERSION: MODERN, CAPABILITIES: {}}}
MIRRORS: Headers = [("mcp-protocol-version", MODERN), ("mcp-method", "server/discover")]


def message(params: str) -> bytes:
    return f'{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{params}}}'.encode()


def test_a_good_request_passes_whatever_blanks_surround_its_headers(client: Client) -> None:
    body = message(json.dumps(DISCOVER))
    assert client.post(body, MIRRORS)[0] == 200
    assert client.post(body, [(name, f" \t{value} ") for name, value in MIRRORS])[0] == 200


def test_escaped_slashes_name_the_same_fields(client: Client) -> None:
    # PHP writes them so.
    status, answer = client.post(message(json.dumps(DISCOVER).replace("/", r"\/")), MIRRORS)
    assert (status, answer["id"]) == (200, 1)


@pytest.mark.parametrize(
    "params",
    [
        f'{{"_meta":{{"{VERSION}":"{MODERN}","{CAPABILITIES}":{{}}}},"_meta":{{}}}}',
        f'{{"_meta":{{"{VERSION}":"{MODERN}","{VERSION}":"2025-11-25","{CAPABILITIES}":{{}}}}}}',
        f'{{"_meta":{{"{VERSION}":"{MODERN}","{CAPABILITIES}":{{}},"progressToken":1,"progressToken":2}}}}',
    ],
    ids=["meta", "version", "token"],
)
def test_what_says_two_things_at_once_is_refused(client: Client, params: str) -> None:
    status, answer = client.post(message(params), MIRRORS)
    assert (status, answer["error"]["code"]) == (400, PARSE_ERROR)
