"""The OpenAPI document of an endpoint: what MetaMCP writes, made right, and prepared in bytes.

A tool is one operation, because clients such as Open WebUI make one tool of each: ``GET`` when it takes no
arguments and ``POST`` otherwise, as in MetaMCP. Knows the definitions that the endpoint lists; knows nothing of HTTP.
Source: OpenAPI 3.1.1; dossier 1.2 for what existing clients read.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.config.snapshot import Endpoint
from metamcp_asgi.downstream.openapi_query import takes_arguments
from metamcp_asgi.downstream.openapi_schema import JSON, Names, adopt
from metamcp_asgi.protocol.jsonrpc import encode

__all__ = ["DOCUMENT", "Document", "describe"]

DOCUMENT: Final = "openapi.json"
"""Where the document is, beside the tools."""

_NOT_IN_AN_ID: Final = re.compile(r"[^a-zA-Z0-9]")


class _Tool(Struct, rename="camel"):
    name: str
    description: Any = None
    input_schema: Any = None
    output_schema: Any = None


class Document(Struct, frozen=True):
    """A document without its servers, which depend on the request; ``inputs`` are the input schemas of its tools."""

    tail: bytes
    digest: bytes
    inputs: Mapping[str, Any]

    def head(self, name: str, base: str) -> bytes:
        """Return what comes before ``tail``.

        Args:
            name: The endpoint.
            base: The URL below which its tools are.
        """
        head = {
            "openapi": "3.1.0",
            "info": {
                "title": f"{name} Server",
                "description": f"API server for {name} tools and utilities.",
                "version": "1.0.0",
            },
            "servers": [{"url": base}],
        }
        return encode(head)[:-1]

    def etag(self, head: bytes) -> bytes:
        """Return the strong entity tag of head and tail."""
        return b'"%b"' % hashlib.sha256(head + self.digest).hexdigest()[:32].encode()


def describe(endpoint: Endpoint, definitions: Sequence[Raw]) -> Document:
    """Return the document of an endpoint.

    Args:
        endpoint: Its name and what it asks of a client.
        definitions: The tools that it lists.
    """
    tools = [msgspec.json.decode(definition, type=_Tool) for definition in definitions]
    schemas: JSON = dict(_SCHEMAS)
    names = Names(schemas)
    ids = _operation_ids([tool.name for tool in tools])
    paths = {
        f"/{quote(tool.name, safe='')}": _path(tool, operation_id, schemas, names)
        for tool, operation_id in zip(tools, ids, strict=True)
    }
    components: JSON = {"schemas": schemas, "responses": _RESPONSES}
    document: JSON = {"paths": paths, "components": components}
    if endpoint.api_key_auth:
        schemes = {**_SCHEMES, "queryKey": _QUERY_KEY} if endpoint.query_param_auth else _SCHEMES
        components["securitySchemes"] = schemes
        document["security"] = [{scheme: []} for scheme in schemes]
    tail = b"," + encode(document)[1:]
    return Document(tail, hashlib.sha256(tail).digest(), {tool.name: tool.input_schema for tool in tools})


def _path(tool: _Tool, operation_id: str, schemas: JSON, names: Names) -> JSON:
    result: JSON = {"$ref": "#/components/schemas/CallToolResult"}
    if isinstance(tool.output_schema, dict):
        structured = adopt(tool.output_schema, f"{operation_id}_result", schemas, names)
        result = {"allOf": [result, {"properties": {"structuredContent": structured}}]}
    description = tool.description if isinstance(tool.description, str) else ""
    operation: JSON = {
        "summary": description or tool.name,
        "operationId": operation_id,
        "responses": {"200": _answer("Successful Response", result), **_FAILURES},
    }
    if not takes_arguments(tool.input_schema) and tool.name != DOCUMENT:
        return {"get": operation}
    arguments = adopt(tool.input_schema, f"{operation_id}_arguments", schemas, names)
    operation["requestBody"] = {"content": {"application/json": {"schema": arguments}}, "required": True}
    return {"post": operation}


def _operation_ids(tools: Sequence[str]) -> list[str]:
    """Return the operation ids of tools: the name in letters, digits and ``_``.

    Of tools that this makes alike, one whose name it does not change keeps it, and the others get a digest of their
    name; so an id does not depend on the order of tools, nor on which of those others there are.
    """
    plain = [_NOT_IN_AN_ID.sub("_", tool) for tool in tools]
    number: dict[str, int] = {}
    for each in plain:
        number[each] = number.get(each, 0) + 1
    taken = set(tools) | set(plain)
    ids = []
    for tool, operation_id in zip(tools, plain, strict=True):
        if number[operation_id] > 1 and operation_id != tool:
            digest, length = hashlib.sha256(tool.encode()).hexdigest(), 8
            while (unique := f"{operation_id}_{digest[:length]}") in taken:
                length += 1
            taken.add(unique)
            operation_id = unique
        ids.append(operation_id)
    return ids


def _answer(description: str, schema: JSON) -> JSON:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _object(required: Sequence[str] = (), **properties: JSON) -> JSON:
    return {"type": "object", "properties": properties, **({"required": list(required)} if required else {})}


_TEXT: Final[JSON] = {"type": "string"}
# What FastAPI and mcpo call their answers, which generated clients know.
_SCHEMAS: Final[JSON] = {
    "HTTPValidationError": _object(
        detail={"type": "array", "items": {"$ref": "#/components/schemas/ValidationError"}, "title": "Detail"}
    ),
    "ValidationError": _object(
        ("loc", "msg", "type"),
        loc={"type": "array", "items": {"anyOf": [_TEXT, {"type": "integer"}]}, "title": "Location"},
        msg={**_TEXT, "title": "Message"},
        type={**_TEXT, "title": "Error Type"},
    ),
    "Error": _object(("error",), error=_TEXT, message=_TEXT, timestamp={**_TEXT, "format": "date-time"}),
    "CallToolResult": _object(
        ("content",),
        content={"type": "array", "items": {**_object(("type",), type=_TEXT), "title": "ContentBlock"}},
        structuredContent={},
        isError={"type": "boolean", "description": "Whether the tool failed; the content says why."},
        _meta={"type": "object"},
    ),
}
_STATUSES: Final = {
    "401": "A key is asked for, and there is none, or not a valid one",
    "403": "The key does not open this endpoint, or the tool is switched off",
    "404": "There is no such tool",
    "429": "Too many requests of this client",
    "502": "The server of the tool is down, or failed",
    "503": "Too many requests of all clients",
    "504": "The server of the tool did not answer in time",
    "default": "Any other failure",
}
_ERROR: Final[JSON] = {"$ref": "#/components/schemas/Error"}
_RESPONSES: Final[JSON] = {f"Error{status}": _answer(text, _ERROR) for status, text in _STATUSES.items()}
_FAILURES: Final[JSON] = {
    "422": _answer("Validation Error", {"$ref": "#/components/schemas/HTTPValidationError"}),
    **{status: {"$ref": f"#/components/responses/Error{status}"} for status in _STATUSES},
}
_SCHEMES: Final[JSON] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "headerKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_QUERY_KEY: Final[JSON] = {"type": "apiKey", "in": "query", "name": "api_key"}
