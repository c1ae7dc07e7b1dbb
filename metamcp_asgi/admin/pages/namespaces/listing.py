"""The list of namespaces, found by a search."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.asking import asked_of, notice_of
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.namespaces.shown import NOTICES, PATH
from metamcp_asgi.pages.render import render

__all__ = ["routes"]

_LIMIT: Final = 50


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of the list."""

    async def listing(request: Request) -> Response:
        asked = asked_of(request, "search", "after")
        wanted = {**asked, "details": "include", "limit": _LIMIT}
        page = (await desk.ask(request.scope, "listNamespaces", query=wanted)).body
        return render(
            request.scope,
            "admin/namespaces/list.html",
            page=page,
            search=asked["search"],
            first=not asked["after"],
            notice=notice_of(request, NOTICES),
        )

    return [Route(PATH, listing)]
