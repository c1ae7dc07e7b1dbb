"""The admin pages as sites of a gateway: the composition root of this folder."""

from collections.abc import Collection, Mapping
from typing import Final

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp

from metamcp_asgi.admin.pages import (
    account,
    api_keys,
    audit,
    endpoints,
    explore,
    live_logs,
    oauth_clients,
    overview,
    settings,
    statistics,
    users,
)
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.inspector import page as inspector
from metamcp_asgi.admin.pages.namespaces import application as namespaces
from metamcp_asgi.admin.pages.servers import application as servers
from metamcp_asgi.pages.place import Place
from metamcp_asgi.signin.application import nowhere
from metamcp_asgi.signin.people import for_people
from metamcp_asgi.signin.sessions import Sessions

__all__ = ["admin_pages"]

_ROOMS: Final = (
    overview,
    servers,
    namespaces,
    endpoints,
    api_keys,
    inspector,
    live_logs,
    explore,
    statistics,
    users,
    oauth_clients,
    account,
    settings,
    audit,
)


def admin_pages(
    desk: Desk,
    sessions: Sessions,
    place: Place,
    *,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
) -> Mapping[str, ASGIApp]:
    """Return the sites by their paths.

    Args:
        desk: Does what the pages ask for.
        sessions: Who is signed in.
        place: Where the gateway is.
        hosts: ``Host`` values to answer, as for ``OriginGuard``.
        origins: ``Origin`` values to answer besides our own.
    """
    routes: list[BaseRoute] = [route for room in _ROOMS for route in room.routes(desk)]
    router = Router(routes, redirect_slashes=False, default=nowhere)
    app = for_people(router, sessions, place, hosts=hosts, origins=origins)
    return {path: app for room in _ROOMS for path in room.PATHS}
