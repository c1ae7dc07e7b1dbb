"""The routes of all pages of servers."""

from typing import Final

from starlette.routing import BaseRoute

from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.servers import acting, detail, editing, listing, transfer
from metamcp_asgi.admin.pages.servers.shown import PATH

__all__ = ["PATHS", "routes"]

PATHS: Final = (PATH,)


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these pages."""
    return [route for room in (listing, editing, transfer, detail, acting) for route in room.routes(desk)]
