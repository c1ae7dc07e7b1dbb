"""One namespace: what it is, its servers, the endpoints that publish it, and a page of its tools."""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.asking import changeable, notice_of
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.namespaces.shown import NOTICES, ONE, PATH, PREFIXES, ShownTool, by_htmx
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to

__all__ = ["answer", "detail", "routes"]

_TOOLS: Final = 50
_MEMBERS: Final = 15
_ENDPOINTS: Final = 20
_SHOWN: Final = {
    "": N_("All"),
    "on": N_("On"),
    "off": N_("Off"),
    "overridden": N_("Overridden"),
    "missing": N_("Gone"),
}


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the route of the page."""

    async def whole(request: Request) -> Response:
        return await detail(desk, request, notice=notice_of(request, NOTICES))

    return [Route(ONE, whole)]


async def answer(desk: Desk, request: Request, done: str) -> Response:
    """Return what follows an action: the way to the page, or for htmx, which takes parts of it, the page itself.

    Args:
        desk: Carries out operations.
        request: The action.
        done: What was done, as in ``NOTICES``.
    """
    if by_htmx(request):
        return await detail(desk, request, notice=NOTICES[done])
    return to(request.scope, f"{PATH}/{request.path_params['id']}", done=done)


async def detail(desk: Desk, request: Request, *, notice: str = "", wrong: str = "", status: int = 200) -> Response:
    """Return the page of a namespace.

    Args:
        desk: Carries out operations.
        request: One for this page, or for something that was to be done with the namespace.
        notice: What was done.
        wrong: Why it was refused.
        status: The HTTP status.
    """
    scope, ids, query = request.scope, {"id": request.path_params["id"]}, _query(request)
    read = await desk.ask(scope, "getNamespace", ids=ids, query={"details": "include"})
    namespace = read.body
    members = (await desk.ask(scope, "listMembers", ids=ids)).body.items
    asked = {name: query.get(name, "").strip() for name in ("search", "server", "show", "after")}
    asked["server"] = asked["server"] if any(str(each.server_id) == asked["server"] for each in members) else ""
    asked["show"] = asked["show"] if asked["show"] in _SHOWN else ""
    page = (await desk.ask(scope, "listTools", ids=ids, query={**asked, "limit": _TOOLS})).body
    endpoints = (
        await desk.ask(scope, "listEndpoints", query={"namespace": str(namespace.id), "limit": _ENDPOINTS})
    ).body
    begin = int(query.get("from", "")) if query.get("from", "").isdecimal() and len(query["from"]) < 6 else 0
    return render(
        scope,
        "admin/namespaces/detail.html",
        status=status,
        notice=notice,
        wrong=wrong,
        namespace=namespace,
        version=read.version,
        may=changeable(scope, namespace),
        path=f"{PATH}/{namespace.id}",
        prefix=PREFIXES[namespace.prefix],
        members=members[begin : begin + _MEMBERS],
        begin=begin,
        following=begin + _MEMBERS if len(members) > begin + _MEMBERS else None,
        number=len(members),
        servers=[(str(each.server_id), each.name) for each in members],
        endpoints=endpoints,
        tools=[ShownTool.of(tool) for tool in page.items],
        counts=page.counts,
        next=page.next,
        asked=asked,
        sorts=_SHOWN,
    )


def _query(request: Request) -> QueryParams:
    """Return the query of the page that the browser shows; an action for htmx is asked for from there."""
    if by_htmx(request) and request.method == "POST":
        return QueryParams(urlsplit(request.headers.get("hx-current-url", "")).query)
    return request.query_params
