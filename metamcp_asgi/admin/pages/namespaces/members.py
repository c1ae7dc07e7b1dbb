"""The servers of a namespace: switched, moved, removed, and added after a search; what all of them offer read again."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.asking import asked_of, changeable, notice_of
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.admin.pages.namespaces.detail import answer, detail
from metamcp_asgi.admin.pages.namespaces.shown import NOTICES, ONE, PATH, identity
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.render import render, to

__all__ = ["routes"]

_LIMIT: Final = 50
_AT_ONCE: Final = 8
"""Servers whose lists are read again at once."""
_PLACES: Final = {"up": -1, "down": 1}


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these pages and actions."""

    async def add(request: Request) -> Response:
        scope, ids = request.scope, request.path_params
        if request.method == "GET":
            return await _candidates(desk, request)
        form = form_of(scope)
        read = await desk.ask(scope, "getNamespace", ids=ids)
        new = [{"serverId": identity} for identity in form.all("server")]
        body = {"servers": [*_listed(read.body), *new]}
        try:
            await desk.ask(scope, "updateNamespace", body, ids=ids, version=form["version"])
        except Refused as refused:
            if not refused.correctable:
                raise
            return await _candidates(desk, request, form.all("server"), refused)
        return to(scope, f"{PATH}/{ids['id']}", done="added")

    async def switch(request: Request) -> str:
        scope, form = request.scope, form_of(request.scope)
        ids = {"id": request.path_params["id"], "server": identity(form["server"])}
        on = form["to"] == "on"
        await desk.ask(scope, "switchServer", {"active": on}, ids=ids, version=form["version"])
        return "on" if on else "off"

    async def move(request: Request) -> str:
        form = form_of(request.scope)
        servers = _listed((await desk.ask(request.scope, "getNamespace", ids=request.path_params)).body)
        place = next((n for n, member in enumerate(servers) if member["serverId"] == form["server"]), None)
        if place is not None:
            member = servers.pop(place)
            servers.insert(max(0, place + _PLACES.get(form["to"], 0)), member)
        await _list(request, servers)
        return "moved"

    async def remove(request: Request) -> str:
        form = form_of(request.scope)
        servers = _listed((await desk.ask(request.scope, "getNamespace", ids=request.path_params)).body)
        await _list(request, [member for member in servers if member["serverId"] != form["server"]])
        return "removed"

    async def refresh(request: Request) -> str:
        scope = request.scope
        members = (await desk.ask(scope, "listMembers", ids=request.path_params)).body.items
        gate = asyncio.Semaphore(_AT_ONCE)

        async def read_again(server: UUID) -> None:
            with contextlib.suppress(Refused):  # it was deleted in the meantime
                async with gate:
                    await desk.ask(scope, "refreshServer", ids={"id": server})

        async with asyncio.TaskGroup() as group:
            for member in members:
                # Of public servers, only admins may ask for that.
                if member.active and changeable(scope, member):
                    group.create_task(read_again(member.server_id))
        return "refreshed"

    async def _list(request: Request, servers: list[dict[str, Any]]) -> None:
        version = form_of(request.scope)["version"]
        await desk.ask(request.scope, "updateNamespace", {"servers": servers}, ids=request.path_params, version=version)

    actions = {"servers/switch": switch, "servers/move": move, "servers/remove": remove, "refresh": refresh}
    return [
        Route(f"{ONE}/servers/add", add, methods=["GET", "POST"]),
        *(Route(f"{ONE}/{path}", _action(desk, act), methods=["POST"]) for path, act in actions.items()),
    ]


def _action(desk: Desk, act: Callable[[Request], Awaitable[str]]) -> Callable[[Request], Awaitable[Response]]:
    """Return the page for an action, which says what was done."""

    async def page(request: Request) -> Response:
        try:
            done = await act(request)
        except Refused as refused:
            if not refused.correctable:
                raise
            return await detail(desk, request, wrong=refused.text, status=refused.page_status)
        return await answer(desk, request, done)

    return page


async def _candidates(
    desk: Desk, request: Request, chosen: list[str] | None = None, refused: Refused | None = None
) -> Response:
    scope, ids = request.scope, request.path_params
    read = await desk.ask(scope, "getNamespace", ids=ids)
    asked = asked_of(request, "search", "after")
    page = (await desk.ask(scope, "listCandidates", ids=ids, query={**asked, "limit": _LIMIT})).body
    return render(
        scope,
        "admin/namespaces/add.html",
        status=refused.page_status if refused is not None else 200,
        namespace=read.body,
        version=read.version,
        path=f"{PATH}/{ids['id']}",
        page=page,
        asked=asked,
        chosen=chosen or [],
        fault=refused.text if refused is not None else "",
        notice=notice_of(request, NOTICES),
    )


def _listed(namespace: Any) -> list[dict[str, Any]]:
    """Return the servers of a namespace as the API takes them."""
    return [{"serverId": str(member.server_id), "active": member.active} for member in namespace.servers]
