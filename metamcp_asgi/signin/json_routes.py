"""MetaMCP's JSON routes of signing in, below ``/api/auth``, for scripts that used them.

Answers have better-auth's form, but for the session's secret, which is in the cookie alone.
"""

import math
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.signin.entrance import Entrance
from metamcp_asgi.signin.people import person_or_none
from metamcp_asgi.store.models import User
from metamcp_asgi.store.services import users

__all__ = ["JSONRoutes", "json_fault"]

_MOST = 64 * 1024
"""Bytes of a body."""


def json_fault(scope: Scope, fault: Fault) -> Response:
    """Return the answer that says what is wrong."""
    answer = _json(fault.status, {"message": fault.text})
    answer.headers.update(fault.headers)
    return answer


class _Credentials(Struct, frozen=True):
    email: Annotated[str, Meta(max_length=320)]
    password: Annotated[str, Meta(max_length=1000)]
    name: Annotated[str, Meta(max_length=200)] = ""


class JSONRoutes:
    """What the routes answer.

    Args:
        entrance: Lets people in.
    """

    def __init__(self, entrance: Entrance) -> None:
        self._entrance = entrance

    async def sign_in(self, request: Request) -> Response:
        """Begin a session for who has a password: ``{"email": ..., "password": ...}``."""
        return await self._begin(request, register=False)

    async def sign_up(self, request: Request) -> Response:
        """Make an account where that is allowed, and begin its session."""
        return await self._begin(request, register=True)

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        cookie = await self._entrance.sessions.end(request.scope)
        return _json(200, {"success": True}, cookie)

    async def get_session(self, request: Request) -> Response:
        """Tell who is signed in; ``null`` when nobody is."""
        me = person_or_none(request.scope)
        if me is None:
            return _json(200, None)
        async with (await self._entrance.sessions.store()).read() as tx:
            user = await users.get(tx, me.acting, me.id)
        session = {"id": str(me.session), "userId": str(me.id), "createdAt": me.since.isoformat()}
        return _json(200, {"session": session, "user": _user(user)})

    async def _begin(self, request: Request, *, register: bool) -> Response:
        scope = request.scope
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            # Pages of other sites cannot send this type without being asked (CORS).
            raise Fault(415, "The body must be application/json.")
        try:
            given = msgspec.json.decode(await _body(request), type=_Credentials)
        except ValueError as error:
            raise Fault(400, str(error)) from None
        except RecursionError:
            raise Fault(400, "The body is nested too deeply.") from None
        if register:
            user = await self._entrance.register(scope, given.email, given.password, given.name)
        else:
            user = await self._entrance.by_password(scope, given.email, given.password)
        cookie = await self._entrance.sessions.begin(scope, user, "password")
        return _json(200, {"redirect": False, "user": _user(user)}, cookie)


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST:
            raise ValueError(f"The body has more than {math.floor(_MOST / 1024)} KiB.")
    return body


def _user(user: User) -> dict[str, Any]:
    return {
        "id": str(user.id),
        "email": user.email,
        "name": user.name,
        "role": user.role,
        "createdAt": user.created_at.isoformat(),
        "updatedAt": user.updated_at.isoformat(),
    }


def _json(status: int, body: Any, *headers: tuple[bytes, bytes]) -> Response:
    answer = Response(msgspec.json.encode(body), status, {"cache-control": "no-store"}, "application/json")
    answer.raw_headers.extend(headers)
    return answer
