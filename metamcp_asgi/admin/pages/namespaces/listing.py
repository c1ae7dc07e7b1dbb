"""The list of namespaces, found by a search."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.namespaces.shown import PATH, notice
from metamcp_asgi.pages.render import render

__all__ = ["routes"]

_LIMIT: Final = 50


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of the list."""

    async def listing(request: Request) -> Response:
        asked = {name: request.query_params.get(name, "").strip() for name in ("search", "after")}
        wanted = {name: value or None for name, value in asked.items()}
        wanted |= {"details": "include", "limit": str(_LIMIT)}
        page = (await desk.ask(request.scope, "listNamespaces", query=wanted)).body
        return render(
            request.scope,
            "admin/namespaces/list.html",
            page=page,
            search=asked["search"],
            first=not asked["after"],
            notice=notice(request),
        )

    return [Route(PATH, listing)]
