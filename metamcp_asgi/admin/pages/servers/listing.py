"""The list of servers, found by a search, and how they do."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from metamcp_asgi.admin.api.running import ServerHealth
from metamcp_asgi.admin.pages.asking import asked_of, changeable
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.servers.shown import PATH, TYPES, notice, owners, translated, unsettled
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render

__all__ = ["routes"]

_LIMIT: Final = 50
_STATES: Final = (
    ("", N_("Any")),
    ("ready", N_("ready")),
    ("starting", N_("starting")),
    ("failed", N_("failed")),
    ("disabled", N_("disabled")),
)
_OWNERS: Final = (("", N_("Any")), ("me", N_("My own")), ("public", N_("Public")))


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of the list."""

    async def listing(request: Request) -> Response:
        scope = request.scope
        asked = asked_of(request, "search", "state", "owner", "after")
        page = (await desk.ask(scope, "listServers", query={**asked, "limit": _LIMIT})).body
        health = await _health(desk, scope, [str(server.id) for server in page.items])
        return render(
            scope,
            "admin/servers/list.html",
            rows=[(server, health[str(server.id)], changeable(scope, server)) for server in page.items],
            following=page.next,
            asked=asked,
            owners=await owners(desk, scope, page.items),
            types=TYPES,
            states=translated(scope, _STATES),
            whose=translated(scope, _OWNERS),
            unsettled=_unsettled(health),
            notice=notice(request),
        )

    async def states(request: Request) -> Response:
        """What is known by now of servers of which it was not; nothing while that is none."""
        asked = request.query_params.getlist("id")[:_LIMIT]
        health = await _health(desk, request.scope, asked)
        left = _unsettled(health)
        if len(left) == len(asked):
            return Response(status_code=204)
        known = [each for identity, each in health.items() if identity not in left]
        return render(request.scope, "admin/servers/states.html", known=known, unsettled=left)

    return [Route(PATH, listing), Route(f"{PATH}/states", states)]


async def _health(desk: Desk, scope: Scope, ids: list[str]) -> Mapping[str, ServerHealth]:
    if not ids:
        return {}
    found = (await desk.ask(scope, "getHealth", query={"ids": ",".join(ids)})).body
    return {str(health.id): health for health in found.servers}


def _unsettled(health: Mapping[str, ServerHealth]) -> list[str]:
    return [identity for identity, each in health.items() if unsettled(each)]
