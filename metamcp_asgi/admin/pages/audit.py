"""Who changed what and when, for admins."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.asking import asked_of
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.pages.render import render

__all__ = ["PATHS", "routes"]

PATHS: Final = ("/audit",)


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def audit(request: Request) -> Response:
        asked = asked_of(request, "kind", "object", "after")
        page = (await desk.ask(request.scope, "listAudit", query=asked)).body
        return render(request.scope, "admin/audit/audit.html", page=page, asked=asked)

    return [Route("/audit", audit)]
