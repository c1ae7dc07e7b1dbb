"""Where the inspector's script speaks MCP: endpoints and single servers, opened by being signed in instead of by a key.

Behind it is what stands behind every endpoint's authentication, so a browser meets the real limits, sessions and
streams on whichever process, and nothing is kept for it here. Cookies come with what other sites make a browser send,
too, so these fences stand in front: requests come from our own pages, and what acts brings the token of such a page.
"""

import uuid
from collections.abc import Callable, Collection
from typing import Final

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.asgi.origin import OriginGuard
from metamcp_asgi.config.snapshot import Endpoint, Principal, Snapshot
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.forms import CSRF_HEADER, Forms, SameOrigin
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.place import Place
from metamcp_asgi.pages.site import Faults, Visits
from metamcp_asgi.signin.application import nowhere
from metamcp_asgi.signin.json_routes import json_fault
from metamcp_asgi.signin.people import People, person
from metamcp_asgi.signin.sessions import Sessions
from metamcp_asgi.store.compile import named

__all__ = ["INSPECT", "inspection_site"]

INSPECT: Final = "/mcp-inspector/connect"
"""Below it is ``/servers/{id}/mcp`` for each server and ``/endpoints/{id}/mcp`` for each endpoint."""
_MOST_OF_A_FORM: Final = 1024
_PRIVATE: Final = frozenset((b"cookie", b"authorization", b"x-api-key", CSRF_HEADER.encode()))
"""What is for us alone."""


def inspection_site(
    admitted: ASGIApp,
    desk: Desk,
    snapshot: Callable[[], Snapshot],
    sessions: Sessions,
    place: Place,
    *,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
) -> ASGIApp:
    """Return the site.

    Args:
        admitted: What stands behind the authentication of endpoints.
        desk: Finds what somebody may see.
        snapshot: Gives what is served now.
        sessions: Who is signed in.
        place: Where the gateway is.
        hosts: ``Host`` values to answer, as for ``OriginGuard``.
        origins: ``Origin`` values to answer besides our own; requests of their pages are refused all the same.
    """
    inspected = _Inspected(admitted, desk, snapshot)
    routes = [Route(f"{INSPECT}/{{kind}}/{{id:uuid}}/mcp", inspected)]
    app: ASGIApp = Router(routes, redirect_slashes=False, default=nowhere)
    app = People(app, sessions, required=False)
    app = Forms(app, _MOST_OF_A_FORM)
    app = SameOrigin(app, place)
    app = Faults(app, json_fault)
    app = OriginGuard(app, hosts=hosts, origins=origins)
    return Visits(app, place)


class _Inspected:
    """Leads who is signed in to what they may use."""

    def __init__(self, admitted: ASGIApp, desk: Desk, snapshot: Callable[[], Snapshot]) -> None:
        self._admitted = admitted
        self._desk = desk
        self._snapshot = snapshot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve or refuse one request.

        Raises:
            Fault: Nobody is signed in (401), or the endpoint takes only tokens of somebody else (403), or what is asked
                for does not exist, not for this person, or not now (404).
        """
        who = person(scope)
        principal = Principal(id=f"user:{who.id}", kind="user", name=who.name or who.email, user=str(who.id))
        kind, identity = scope["path_params"]["kind"], scope["path_params"]["id"]
        if kind == "servers":
            endpoint = await self._server(scope, identity)
        elif kind == "endpoints":
            endpoint = await self._endpoint(scope, identity, principal)
        else:
            raise Fault(404, N_("There is no such page."))
        inner = {
            **scope,
            "headers": [header for header in scope["headers"] if header[0] not in _PRIVATE],
            "metamcp.endpoint": endpoint,
            "metamcp.principal": principal,
            "metamcp.leaf": "mcp",
        }
        await self._admitted(inner, receive, send)

    async def _server(self, scope: Scope, identity: uuid.UUID) -> Endpoint:
        """Return the endpoint of a server by itself: who may see a server may put it into a namespace and use it so."""
        server = (await self._desk.ask(scope, "getServer", ids={"id": identity})).body
        endpoint = self._desk.aggregator.alone(named(server.name, server.owner_id))
        if endpoint is None:
            text = N_("This server is disabled.") if server.disabled else N_("This server is not there yet. Try again.")
            raise Fault(404, text)
        return endpoint

    async def _endpoint(self, scope: Scope, identity: uuid.UUID, principal: Principal) -> Endpoint:
        """Return an endpoint that somebody may use: with a key of theirs, or with a token that we would give them."""
        name = (await self._desk.ask(scope, "getEndpoint", ids={"id": identity})).body.name
        snapshot = self._snapshot()
        endpoint = snapshot.endpoints.get(name)
        if endpoint is None:
            raise Fault(404, N_("This endpoint is not there yet. Try again."))
        if endpoint.open:
            return endpoint
        if not endpoint.api_key_auth and endpoint.oauth is not None and endpoint.oauth.issuer:
            raise Fault(403, N_("Only access tokens of another issuer open this endpoint, and you have none here."))
        if not snapshot.lets(name, principal):
            raise Fault(403, N_("This endpoint is somebody else's. You may see it, but not use it."))
        return endpoint
