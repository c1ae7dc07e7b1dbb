"""The first page: how the servers do, and what the person has here."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.pages.render import render

__all__ = ["PATHS", "routes"]

PATHS: Final = ("/",)


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def overview(request: Request) -> Response:
        health = (await desk.ask(request.scope, "getHealth")).body
        failed = [server for server in health.servers if server.state == "failed"]
        counts = dict.fromkeys(("ready", "starting", "failed", "disabled"), 0)
        for server in health.servers:
            counts[server.state] += 1
        return render(request.scope, "admin/overview/overview.html", counts=counts, failed=failed)

    return [Route("/", overview)]
