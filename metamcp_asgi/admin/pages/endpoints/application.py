"""The routes of the pages of endpoints."""

from typing import Final

from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.endpoints.editing import Editing
from metamcp_asgi.admin.pages.endpoints.viewing import PATH, Viewing

__all__ = ["PATHS", "routes"]

PATHS: Final = (PATH,)


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these pages."""
    viewing, editing = Viewing(desk), Editing(desk)
    one, both = f"{PATH}/{{id:uuid}}", ["GET", "POST"]
    return [
        Route(PATH, viewing.listing),
        Route(f"{PATH}/new", editing.create, methods=both),
        Route(one, viewing.one),
        Route(f"{one}/edit", editing.edit, methods=both),
        Route(f"{one}/namespace", viewing.switch, methods=["POST"]),
        Route(f"{one}/delete", viewing.delete, methods=["POST"]),
    ]
