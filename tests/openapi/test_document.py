"""What `openapi.json` says: MetaMCP's shapes, valid, with references that resolve, and prepared once."""

import asyncio
import re
from typing import Any
from urllib.parse import unquote

import httpx2
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Mount

from metamcp_asgi import Gateway, Settings
from metamcp_asgi.config.file import compile_document
from tests.gateway.running import KEY_A, document_of, served
from tests.gateway.upstreams.raw import RawServer, tool_named
from tests.openapi.bridge import BEARER, JSON, Bridge, bridge_over

WILD: list[JSON] = [
    {},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}},
    {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": "https://example.com/tool.json",
        "type": "object",
        "properties": {
            "pair": {"type": "array", "items": [{"type": "string"}, {"$ref": "#/definitions/B~1C"}]},
            "again": {"$ref": "#/properties/pair"},
        },
        "definitions": {"B/C": {"type": "integer"}},
    },
    {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}},
    {"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}, "b": {"$ref": "#/$defs/nobody"}}},
    {"type": "object", "properties": {"$ref": {"type": "string"}, "$defs": {"type": "string"}}, "required": ["$ref"]},
    {"type": "object", "properties": {"a": {"const": {"$ref": "#/nowhere"}}}},
    {"$ref": "#/$defs/Args", "$defs": {"Args": {"type": "object", "properties": {"x": {"$ref": "#/$defs/Args"}}}}},
]


def references(node: Any) -> list[str]:
    """Returns every `$ref` that is a string."""
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [each for key, value in node.items() if key != "const" for each in references(value)]
    return [each for item in node for each in references(item)] if isinstance(node, list) else []


def resolved(document: JSON, reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        part = unquote(part).replace("~1", "/").replace("~0", "~")
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node


def operations(document: JSON) -> dict[str, tuple[str, JSON]]:
    """Returns the one operation of each path, with its method."""
    found = {}
    for path, item in document["paths"].items():
        ((method, operation),) = item.items()
        found[path] = method, operation
    return found


async def test_it_has_the_shapes_that_metamcps_clients_know(bridge: Bridge) -> None:
    document = await bridge.document()
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {
        "title": "open Server",
        "description": "API server for open tools and utilities.",
        "version": "1.0.0",
    }
    method, add = operations(document)["/t__add"]
    assert (method, add["summary"], add["operationId"]) == ("post", "Adds two numbers.", "t__add")
    assert add["requestBody"]["required"] is True
    arguments = add["requestBody"]["content"]["application/json"]["schema"]
    assert arguments["properties"]["a"]["type"] == "integer"
    assert arguments["required"] == ["a"]
    method, ping = operations(document)["/t__ping"]
    assert (method, ping["summary"], "requestBody" in ping) == ("get", "t__ping", False)
    validation = {"$ref": "#/components/schemas/HTTPValidationError"}
    assert ping["responses"]["422"] == {
        "description": "Validation Error",
        "content": {"application/json": {"schema": validation}},
    }


async def test_the_result_is_typed_by_the_output_schema(bridge: Bridge) -> None:
    _, add = operations(await bridge.document())["/t__add"]
    parts = add["responses"]["200"]["content"]["application/json"]["schema"]["allOf"]
    assert parts[0] == {"$ref": "#/components/schemas/CallToolResult"}
    assert parts[1]["properties"]["structuredContent"]["properties"]["total"]["type"] == "integer"


async def test_definitions_are_components_of_their_own(bridge: Bridge) -> None:
    document = await bridge.document()
    _, grow = operations(document)["/t__grow"]
    tree = grow["requestBody"]["content"]["application/json"]["schema"]["properties"]["tree"]
    assert tree == {"$ref": "#/components/schemas/t__grow_arguments_Node"}
    node = resolved(document, tree["$ref"])
    assert node["properties"]["children"]["items"] == tree


@pytest.mark.parametrize("member", ["inputSchema", "outputSchema"])
async def test_any_schema_makes_a_valid_document_whose_references_resolve(member: str) -> None:
    tools = [tool_named(f"wild{number}", **{member: schema}) for number, schema in enumerate(WILD)]
    async with bridge_over(RawServer(tools=tuple(tools))) as bridge:
        document = await bridge.document()
    OpenAPIV31SpecValidator(document).validate()
    found = references(document)
    assert len(found) > len(WILD)
    for reference in found:
        assert reference.startswith("#/components/"), reference
        resolved(document, reference)
    text = str(document)
    assert "https://example.com" not in text
    assert {f"/raw__wild{number}" for number in range(len(WILD))} <= set(document["paths"])


async def test_what_only_looks_like_a_reference_stays() -> None:
    tools = tuple(tool_named(f"wild{number}", inputSchema=schema) for number, schema in enumerate(WILD))
    async with bridge_over(RawServer(tools=tools)) as bridge:
        document = await bridge.document()

    def properties(number: int) -> JSON:
        _, operation = operations(document)[f"/raw__wild{number}"]
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        found: JSON = (resolved(document, body["$ref"]) if "$ref" in body else body)["properties"]
        return found

    assert properties(5) == WILD[5]["properties"]
    assert properties(6) == WILD[6]["properties"]
    # Tuples as they were written before 2020-12, in a schema that refers to a part of itself.
    assert properties(2)["pair"]["prefixItems"][0] == {"type": "string"}
    assert resolved(document, properties(2)["again"]["$ref"]) == properties(2)["pair"]
    # What leads nowhere allows anything.
    assert properties(4) == {"a": {}, "b": {}}


async def test_names_in_paths_and_ids() -> None:
    names = ("a.b", "a-b", "a_b", "ü", "天気", "{x}/y z")
    definitions = tuple(tool_named(name, inputSchema={"type": "object", "properties": {"a": {}}}) for name in names)
    async with bridge_over(RawServer(tools=definitions)) as bridge:
        found = operations(await bridge.document())
        bridge.raw.behaviour["tools/call"] = lambda seen: {"content": [], "name": seen.params["name"]}
        for path in found:
            if path.startswith("/raw__"):
                answer = await bridge.http.post(f"/metamcp/open/api{path}", json={})
                assert answer.json()["name"] == unquote(path).removeprefix("/raw__")
    ids = {unquote(path): operation["operationId"] for path, (_, operation) in found.items()}
    assert len(set(ids.values())) == len(ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9_]+", each) for each in ids.values())
    assert ids["/raw__a_b"] == "raw__a_b"
    assert set(names) == {name.removeprefix("/raw__") for name in ids if name.startswith("/raw__")}
    # An id stays what it is when others come, go, or change places.
    async with bridge_over(RawServer(tools=(definitions[1], definitions[2]))) as bridge:
        fewer = operations(await bridge.document())
    assert fewer["/raw__a-b"][1]["operationId"] == ids["/raw__a-b"]


async def test_all_pages_of_tools_are_in_it() -> None:
    tools = tuple(f"tool{number}" for number in range(7))
    async with bridge_over(RawServer(tools=tools), page_size=2) as bridge:
        document = await bridge.document()
        assert (await bridge.get("raw__tool6", "?a=1")).status_code == 422
    assert {f"/raw__{tool}" for tool in tools} <= set(document["paths"])


async def test_security_is_asked_for_where_a_key_is(bridge: Bridge) -> None:
    document = await bridge.document()
    assert "security" not in document
    assert "securitySchemes" not in document["components"]
    document = await bridge.document("keyed", BEARER)
    schemes = document["components"]["securitySchemes"]
    assert {"type": "http", "scheme": "bearer"} in schemes.values()
    assert {"type": "apiKey", "in": "header", "name": "X-API-Key"} in schemes.values()
    assert document["security"] == [{name: []} for name in schemes]
    assert all(scheme.get("in") != "query" for scheme in schemes.values())
    document = await bridge.document("query", BEARER)
    query = {"type": "apiKey", "in": "query", "name": "api_key"}
    assert query in document["components"]["securitySchemes"].values()
    OpenAPIV31SpecValidator(document).validate()


async def test_it_is_only_for_those_with_a_key(bridge: Bridge) -> None:
    assert (await bridge.http.get("/metamcp/keyed/api/openapi.json")).status_code == 401
    assert (await bridge.http.get(f"/metamcp/keyed/api/openapi.json?api_key={KEY_A}")).status_code == 401
    assert (await bridge.http.get(f"/metamcp/query/api/openapi.json?api_key={KEY_A}")).status_code == 200


async def test_a_client_that_has_it_is_spared_it(bridge: Bridge) -> None:
    url = "/metamcp/open/api/openapi.json"
    first = await bridge.http.get(url)
    tag = first.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', tag)
    assert first.headers["cache-control"] == "public, no-cache"
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await bridge.http.get(url, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await bridge.http.get(url, headers={"If-None-Match": '"other"'})).content == first.content
    head = await bridge.http.head(url)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", tag)
    assert head.headers["content-length"] == str(len(first.content))


async def test_only_its_client_may_keep_what_a_key_opened(bridge: Bridge) -> None:
    answer = await bridge.http.get("/metamcp/keyed/api/openapi.json", headers=BEARER)
    assert answer.headers["cache-control"] == "private, no-cache"


async def test_a_new_tool_is_in_it_and_changes_its_tag() -> None:
    async with bridge_over(RawServer(tools=("one",))) as bridge:
        url = "/metamcp/open/api/openapi.json"
        before = await bridge.http.get(url)
        bridge.raw.behaviour["tools/list"] = bridge.raw.listed("tools", [tool_named("one"), tool_named("two")])
        await bridge.raw.announce("tools")
        async with asyncio.timeout(30):
            after = before
            while after.content == before.content:
                after = await bridge.http.get(url)
        assert after.headers["etag"] != before.headers["etag"]
        assert "/raw__two" in after.json()["paths"]


async def test_its_server_is_where_it_came_from(bridge: Bridge) -> None:
    document = await bridge.document()
    assert document["servers"] == [{"url": f"http://127.0.0.1:{bridge.running.port}/metamcp/open/api"}]
    document = await bridge.document(headers={"Host": "localhost:99"})
    assert document["servers"] == [{"url": "http://localhost:99/metamcp/open/api"}]


async def test_its_server_is_the_public_url_where_that_is_known() -> None:
    async with bridge_over(app_url="https://mcp.example.com/tools") as bridge:
        document = await bridge.document()
    assert document["servers"] == [{"url": "https://mcp.example.com/tools/metamcp/open/api"}]


async def test_its_server_is_below_the_host_application() -> None:
    gateway = Gateway(compile_document(document_of({}), environ={}), Settings())
    host = Starlette(routes=[Mount("/ai", gateway)], lifespan=gateway.lifespan)
    async with served(host, "on") as port, httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        document = (await http.get("/ai/metamcp/open/api/openapi.json")).json()
        index = (await http.get("/ai/metamcp/")).json()
    assert document["servers"] == [{"url": f"http://127.0.0.1:{port}/ai/metamcp/open/api"}]
    assert index["endpoints"][0]["endpoints"] == {
        "mcp": "/ai/metamcp/open/mcp",
        "sse": "/ai/metamcp/open/sse",
        "api": "/ai/metamcp/open/api",
        "openapi": "/ai/metamcp/open/api/openapi.json",
    }
