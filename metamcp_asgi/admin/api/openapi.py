"""The OpenAPI 3.1 document of the API, made of the route table and of the same Structs that decode and encode.

Knows nothing of any object.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from metamcp_asgi import __version__
from metamcp_asgi.admin.api.operation import Operation, Parameter
from metamcp_asgi.admin.api.problem import ProblemDocument

__all__ = ["describe"]

_REF: Final = "#/components/schemas/{name}"
_PART: Final = re.compile(r"\{(\w+):(\w+)\}")
_PROBLEMS: Final = {
    400: "The request is malformed.",
    401: "There is no valid API key.",
    403: "The key, or who has it, may not do this.",
    404: "There is no such object, or none that the caller may see.",
    409: "Another object has the same name, or what there is stands in the way.",
    412: "It was changed by somebody else in the meantime.",
    413: "The body is too large.",
    415: "The body is of another type.",
    422: "A field or parameter is wrong; `errors` names it.",
    428: "If-Match is missing.",
    429: "Too many wrong keys, or too many attempts of the same.",
    503: "The database cannot be used now.",
    507: "The disk of the database is full; nothing was changed.",
}


def describe(operations: Sequence[Operation], prefix: str) -> bytes:
    """Return the document of a route table.

    Args:
        operations: The table.
        prefix: Where the API is, as clients see it: a path or a whole URL.
    """
    types = [each for operation in operations for each in (operation.takes, operation.gives) if each is not None]
    schemas, components = msgspec.json.schema_components([*types, ProblemDocument], ref_template=_REF)
    of_type = dict(zip(map(repr, [*types, ProblemDocument]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PART.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, of_type)
    problem = {"content": {"application/problem+json": {"schema": of_type[repr(ProblemDocument)]}}}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "MetaMCP management API",
                "version": __version__,
                "description": "Servers, namespaces, endpoints, keys, users, settings and the audit of this gateway. "
                "Every object has an ETag, its version, which PATCH and DELETE need in If-Match.",
            },
            "servers": [{"url": prefix}],
            "security": [{"bearer": []}, {"apiKey": []}, {"session": []}],
            "tags": [{"name": tag} for tag in dict.fromkeys(map(_tag, operations))],
            "paths": paths,
            "components": {
                "schemas": components,
                "securitySchemes": {
                    "bearer": {"type": "http", "scheme": "bearer", "description": "An admin-scoped API key."},
                    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                    "session": {
                        "type": "apiKey",
                        "in": "cookie",
                        "name": "__Host-metamcp_session",
                        "description": "A person who is signed in; what changes something also needs X-CSRF-Token.",
                    },
                },
                "responses": {
                    f"Problem{status}": {"description": text, **problem} for status, text in _PROBLEMS.items()
                },
                "headers": {
                    "ETag": {"description": "The object's version.", "schema": {"type": "string"}},
                    "Link": {"description": 'The next page, as rel="next".', "schema": {"type": "string"}},
                    "Location": {"description": "Where the object is.", "schema": {"type": "string"}},
                },
            },
        }
    )


def _operation(operation: Operation, of_type: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [_tag(operation)],
        "parameters": [
            *(_path_parameter(name, kind) for name, kind in _PART.findall(operation.path)),
            *map(_query_parameter, operation.query),
        ],
    }
    if operation.conditional:
        described["parameters"].append(
            {
                "name": "If-Match",
                "in": "header",
                "required": True,
                "description": "The ETag of the object as it was read, or `*`.",
                "schema": {"type": "string", "pattern": r'^(\*|(W/)?"[^"]*")$'},
            }
        )
    if operation.takes is not None:
        kind = "application/merge-patch+json" if operation.method == "PATCH" else None
        kinds = operation.raw or (["application/json"] if kind is None else ["application/json", kind])
        content = {each: {"schema": of_type[repr(operation.takes)]} for each in kinds}
        described["requestBody"] = {"required": True, "content": content}
    success: dict[str, Any] = {"description": "Done."}
    if operation.gives is not None:
        success["content"] = {kind: {"schema": of_type[repr(operation.gives)]} for kind in operation.kinds}
    if headers := {name: {"$ref": f"#/components/headers/{name}"} for name in _headers(operation)}:
        success["headers"] = headers
    described["responses"] = {str(operation.status): success} | {
        str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(_problems(operation))
    }
    return described


def _headers(operation: Operation) -> Iterable[str]:
    if operation.status == 201:
        yield "Location"
    tagged = operation.conditional or operation.status == 201 or operation.name.startswith(("get", "export", "plan"))
    if tagged and operation.gives is not None:
        yield "ETag"
    if any(parameter.name == "after" for parameter in operation.query):
        yield "Link"


def _problems(operation: Operation) -> set[int]:
    found = {401, 403, 422, 429, 503}
    if operation.method != "GET":
        found.add(507)
    if "{" in operation.path:
        found.add(404)
    if operation.takes is not None:
        found |= {400, 409, 413, 415}
    if operation.name.startswith("export"):  # a store may have what no document can say
        found.add(409)
    if operation.conditional:
        found |= {400, 412, 428}
    return found


def _path_parameter(name: str, kind: str) -> dict[str, Any]:
    schema = {"type": "string", "format": "uuid"} if kind == "uuid" else {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    schema = msgspec.json.schema(parameter.kind)
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {"name": parameter.name, "in": "query", "description": parameter.summary, "schema": schema}


def _tag(operation: Operation) -> str:
    return operation.path.split("/")[1]
