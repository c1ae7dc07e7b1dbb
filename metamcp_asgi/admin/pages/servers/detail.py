"""One server: how it does, how it is set up, whether it is authorized, and its tools."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from metamcp_asgi.admin.api.running import ServerHealth, Tool
from metamcp_asgi.admin.api.shapes import Server
from metamcp_asgi.admin.connect import CONNECT
from metamcp_asgi.admin.pages.asking import asked_of, changeable
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.hints import hints_of
from metamcp_asgi.admin.pages.servers.shown import (
    ERAS,
    PATH,
    SHARINGS,
    TYPES,
    emails,
    notice,
    translated,
    unsettled,
)
from metamcp_asgi.pages.render import render

__all__ = ["detail", "routes"]

_LIMIT: Final = 50


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of the page."""

    async def whole(request: Request) -> Response:
        return await detail(desk, request)

    async def state(request: Request) -> Response:
        """How it does and its tools, as soon as they are known."""
        scope, ids = request.scope, request.path_params
        health = (await desk.ask(scope, "getServerHealth", ids=ids)).body
        if unsettled(health):
            return Response(status_code=204)
        values = await _tools(desk, scope, ids, {"search": ""})
        return render(
            scope, "admin/servers/settled.html", health=health, unsettled=False, path=_path(request), **values
        )

    return [Route(f"{PATH}/{{id:uuid}}", whole), Route(f"{PATH}/{{id:uuid}}/state", state)]


async def detail(desk: Desk, request: Request, *, fault: str = "", status: int = 200) -> Response:
    """Return the page of a server.

    Args:
        desk: Carries out operations.
        request: One for this page, or for something that was to be done with the server.
        fault: Why that was refused.
        status: The HTTP status.
    """
    scope, ids = request.scope, request.path_params
    read = await desk.ask(scope, "getServer", ids=ids)
    server: Server = read.body
    health: ServerHealth = (await desk.ask(scope, "getServerHealth", ids=ids)).body
    return render(
        scope,
        "admin/servers/detail.html",
        status=status,
        fault=fault,
        notice=notice(request),
        server=server,
        version=read.version,
        type=TYPES[server.type],
        era=dict(translated(scope, ERAS))[server.era],
        sharing=dict(translated(scope, SHARINGS))[server.sharing],
        health=health,
        unsettled=unsettled(health),
        may=changeable(scope, server),
        owners=await emails(desk, scope),
        document=await _document(desk, scope, server),
        grants=await _grants(desk, scope, server, health),
        connect=f"{CONNECT}/{server.id}",
        path=_path(request),
        **await _tools(desk, scope, ids, asked_of(request, "search", "after")),
    )


async def _tools(desk: Desk, scope: Scope, ids: Any, asked: Mapping[str, str]) -> dict[str, Any]:
    page = (await desk.ask(scope, "listServerTools", ids=ids, query={**asked, "limit": _LIMIT})).body
    return {"tools": [_tool(tool) for tool in page.items], "following": page.next, "search": asked["search"]}


def _tool(tool: Tool) -> tuple[Tool, Sequence[tuple[str, str]], str, str]:
    """Return a tool, its badges, and its schemas as people read them."""
    return tool, hints_of(tool.annotations), _indented(tool.input_schema), _indented(tool.output_schema)


async def _document(desk: Desk, scope: Scope, server: Server) -> str:
    """Return a server as other programs read it; nothing, where its secrets cannot be opened."""
    if not server.secrets_readable:
        return ""
    return _indented((await desk.ask(scope, "exportServers", query={"ids": str(server.id)})).body)


def _indented(value: Any) -> str:
    return "" if value is None else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


async def _grants(desk: Desk, scope: Scope, server: Server, health: ServerHealth) -> Any:
    """Return what people agreed to at a server; ``None`` when it has not asked anybody."""
    oauth = server.oauth or {}
    if not server.url or oauth.get("flow", "authorization_code") != "authorization_code":
        return None
    grants = (await desk.ask(scope, "getServerGrant", ids={"id": server.id})).body
    asks = bool(oauth) or f"{CONNECT}/{server.id}" in health.error
    return grants if asks or grants.everybody or grants.mine or grants.users else None


def _path(request: Request) -> str:
    return f"{PATH}/{request.path_params['id']}"
