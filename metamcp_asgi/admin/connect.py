"""The pages on which a person connects a server that asks for OAuth: what will happen, and what came of it."""

import math
import uuid
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_json
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.bus.protocol import BusUnavailable
from metamcp_asgi.grants.connect import Connecting
from metamcp_asgi.grants.fetch import GrantError
from metamcp_asgi.grants.flow import STATE_SECONDS
from metamcp_asgi.grants.registration import CALLBACK, DOCUMENT, Ourselves, document
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.place import Place
from metamcp_asgi.pages.render import redirect, render
from metamcp_asgi.signin.people import for_people, person
from metamcp_asgi.signin.sessions import Sessions
from metamcp_asgi.store.policy import Acting

__all__ = ["CONNECT", "connect_sites"]

CONNECT: Final = "/oauth/connect"
PER_MINUTE: Final = 20
"""How often one person may have us ask an authorization server."""
_COOKIE: Final = "metamcp_connecting"


def connect_sites(
    connecting: Connecting,
    sessions: Sessions,
    place: Place,
    counting: Counting,
    *,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
) -> dict[str, ASGIApp]:
    """Return the sites by their paths.

    Args:
        connecting: Gets grants from people.
        sessions: Who is signed in.
        place: Where the gateway is.
        counting: Counts how often others are asked on somebody's word.
        hosts: ``Host`` values to answer, as for ``OriginGuard``.
        origins: ``Origin`` values to answer besides our own.
    """
    pages = _Pages(connecting, place, counting)
    routes = [
        Route(f"{CONNECT}/{{server}}", pages.connect, methods=["GET", "POST"]),
        Route(CALLBACK, pages.callback, methods=["GET"]),
    ]
    app = for_people(Router(routes), sessions, place, hosts=hosts, origins=origins)
    return {CONNECT: app, CALLBACK: app, DOCUMENT: _Document(connecting.ourselves)}


class _Document:
    """Serves our client metadata document, to everybody (CIMD)."""

    def __init__(self, ourselves: Ourselves) -> None:
        self._content = msgspec.json.encode(document(ourselves))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await send_json(scope, send, 200, self._content)


class _Pages:
    def __init__(self, connecting: Connecting, place: Place, counting: Counting) -> None:
        self._connecting = connecting
        self._place = place
        self._counting = counting

    async def connect(self, request: Request) -> Response:
        """Say where the person will be sent, and send them there."""
        scope = request.scope
        server, own = _server(request.path_params["server"]), _own(request.query_params)
        who = person(scope).acting
        await self._count(who)
        if request.method == "POST":
            try:
                departure = await self._connecting.depart(who, server, own=own)
            except GrantError as error:
                raise Fault(502, f"The server {error}.") from None
            cookie = self._place.set_cookie(scope, _COOKIE, departure.browser, STATE_SECONDS)
            return redirect(scope, departure.url, headers=[cookie])
        row, personal, changes = await self._connecting.about(who, server)
        # Who may not change the server cannot connect it for others.
        own = own or (personal and not changes)
        try:
            found = await self._connecting.look(who, server, own=own)
        except GrantError as error:
            return render(scope, "admin/connect.html", server=row, fault=str(error), status=502)
        issuer = urlsplit(found.issuer.authorization_endpoint)
        return render(
            scope,
            "admin/connect.html",
            fault="",
            server=row,
            own=own,
            personal=personal,
            issuer=issuer.netloc,
            scopes=(found.scope or "").split(),
            form_action=[f"{issuer.scheme}://{issuer.netloc}"],
        )

    async def callback(self, request: Request) -> Response:
        """Take what the authorization server answered."""
        scope = request.scope
        browser = self._place.cookie(scope, _COOKIE) or ""
        await self._count(person(scope).acting)
        try:
            row = await self._connecting.arrive(person(scope).acting, browser, dict(request.query_params))
        except GrantError as error:
            return render(scope, "admin/connected.html", fault=str(error), status=400)
        except BusUnavailable:
            raise Fault(503, N_("The gateway cannot finish this now. Try again in a moment.")) from None
        gone = self._place.set_cookie(scope, _COOKIE, "", 0)
        return render(scope, "admin/connected.html", fault="", server=row, headers=[gone])

    async def _count(self, who: Acting) -> None:
        """Count one time that others are asked on somebody's word.

        Raises:
            Fault: It is one too many (429).
        """
        if wait := await self._counting.wait("management", f"connect {who.id}", PER_MINUTE, 60.0):
            raise Fault(429, N_("Too many attempts. Try again later."), {"retry-after": str(math.ceil(wait))})


def _server(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Fault(404, N_("There is no such server.")) from None


def _own(query: QueryParams) -> bool:
    return query.get("for") == "me"
