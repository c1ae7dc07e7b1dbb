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
        return _storable({name: value for name, value in given.items() if isinstance(value, str)})
    try:
        pairs = parse_qsl(
            (await _body(request)).decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise OAuthError("invalid_request", "the body is no form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "a parameter is given more than once")
    return _storable(form)


async def json_in(request: Request) -> Mapping[str, Any]:
    """Return the members of a JSON object.

    Raises:
        OAuthError: It is none, or too large.
    """
    try:
        return msgspec.json.decode(await _body(request), type=dict[str, Any])
    except (ValueError, RecursionError):  # no JSON, no object, no UTF-8; nested without end
        raise OAuthError("invalid_request", "the body is no JSON object") from None


def _storable(form: dict[str, str]) -> dict[str, str]:
    """Return a form without the one character that no database can look for.

    Raises:
        OAuthError: It has that.
    """
    if any("\0" in text for field in form.items() for text in field):
        raise OAuthError("invalid_request", "the body has a NUL character")
    return form


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
