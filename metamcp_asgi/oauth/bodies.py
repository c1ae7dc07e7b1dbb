"""The bodies that clients post: a form, or JSON as MetaMCP takes it, too; read within bounds, each name once."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import ClientDisconnect, Request

from metamcp_asgi.oauth.errors import OAuthError

__all__ = ["form_in", "json_in"]

MAX_BYTES: Final = 32 * 1024
_MOST_FIELDS: Final = 100


async def form_in(request: Request) -> Mapping[str, str]:
    """Return the fields of a form, or the texts of a JSON object.

    Raises:
        OAuthError: It is neither, or too large, or says something twice.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        given = await json_in(request)
        return {name: value for name, value in given.items() if isinstance(value, str)}
    try:
        pairs = parse_qsl(
            (await _body(request)).decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise OAuthError("invalid_request", "the body is no form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "a parameter is given more than once")
    return form


async def json_in(request: Request) -> Mapping[str, Any]:
    """Return the members of a JSON object.

    Raises:
        OAuthError: It is none, or too large.
    """
    try:
        return msgspec.json.decode(await _body(request), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise OAuthError("invalid_request", "the body is no JSON object") from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BYTES:
                raise OAuthError("invalid_request", f"the body is larger than {MAX_BYTES} bytes", 413)
    except ClientDisconnect:
        raise OAuthError("invalid_request", "the body ended too early") from None
    return bytes(body)
