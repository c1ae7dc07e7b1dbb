"""The switch of one tool, and that of all tools whose names fit a pattern, which are shown first."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.admin.pages.namespaces.detail import detail
from metamcp_asgi.admin.pages.namespaces.row import row
from metamcp_asgi.admin.pages.namespaces.shown import NOTICES, ONE, PATH, by_htmx, identity
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.render import render, to

__all__ = ["routes"]

_MOST: Final = 200
"""Tools that the page before a switch names; of the others it tells the number."""


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these actions."""

    async def switch(request: Request) -> Response:
        scope, form = request.scope, form_of(request.scope)
        on = form["to"] == "on"
        ids = {"id": request.path_params["id"], "server": identity(form["server"]), "tool": form["tool"]}
        try:
            await desk.ask(scope, "updateTool", {"enabled": on}, ids=ids, version=form["version"])
        except Refused as refused:
            if not refused.correctable:
                raise
            return await detail(desk, request, wrong=refused.text, status=refused.page_status)
        done = "tool-on" if on else "tool-off"
        if by_htmx(request):
            return await row(desk, scope, ids, NOTICES[done])
        return to(scope, f"{PATH}/{ids['id']}", done=done, search=form["tool"])

    async def many(request: Request) -> Response:
        if request.method == "GET":
            return await _planned(
                desk, request.scope, request.path_params, {"pattern": "", "to": "", **request.query_params}
            )
        scope, form = request.scope, form_of(request.scope)
        asked = {name: form[name] for name in ("pattern", "to")}
        try:
            await desk.ask(scope, "switchTools", {**_body(asked), "limit": 0}, ids=request.path_params)
        except Refused as refused:
            if not refused.correctable:
                raise
            return await _planned(desk, scope, request.path_params, asked)
        return to(scope, f"{PATH}/{request.path_params['id']}", done="switched")

    return [
        Route(f"{ONE}/tools/switch", switch, methods=["POST"]),
        Route(f"{ONE}/tools/many", many, methods=["GET", "POST"]),
    ]


def _body(asked: Mapping[str, str]) -> dict[str, Any]:
    return {"pattern": asked["pattern"].strip(), "enabled": asked["to"] == "on"}


async def _planned(desk: Desk, scope: Scope, ids: Any, asked: Mapping[str, str]) -> Response:
    """Return the page with the tools that a pattern would switch."""
    body = _body(asked)
    namespace = (await desk.ask(scope, "getNamespace", ids=ids)).body
    fault, tools, number, status = "", [], 0, 200
    try:
        planned = (await desk.ask(scope, "switchTools", {**body, "dryRun": True, "limit": _MOST}, ids=ids)).body
        tools, number = planned.items, planned.number
    except Refused as refused:
        if not refused.correctable:
            raise
        fault, status = refused.text, refused.page_status
    return render(
        scope,
        "admin/namespaces/many.html",
        status=status,
        fault=fault,
        namespace=namespace,
        path=f"{PATH}/{namespace.id}",
        pattern=body["pattern"],
        on=body["enabled"],
        tools=tools,
        number=number,
    )
