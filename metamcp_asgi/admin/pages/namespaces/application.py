"""The pages of namespaces, all together."""

from typing import Final

from starlette.routing import BaseRoute

from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.namespaces import detail, editing, listing, members, override, switches
from metamcp_asgi.admin.pages.namespaces.shown import PATH

__all__ = ["PATHS", "routes"]

PATHS: Final = (PATH,)
_PARTS: Final = (listing, editing, detail, members, switches, override)


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these pages."""
    return [route for part in _PARTS for route in part.routes(desk)]
