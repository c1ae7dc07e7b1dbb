"""What is done with one server at a button: switched, reset, refreshed, deleted; its authorization forgotten."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.admin.pages.servers.detail import detail
from metamcp_asgi.admin.pages.servers.shown import PATH
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.render import to

__all__ = ["routes"]

_ONE: Final = f"{PATH}/{{id:uuid}}"


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these actions, each of which is posted."""

    async def switch(request: Request) -> str:
        form = form_of(request.scope)
        off = form["to"] == "disabled"
        body = {"disabled": off}
        await desk.ask(request.scope, "updateServer", body, ids=request.path_params, version=form["version"])
        await desk.reload()
        return "disabled" if off else "enabled"

    async def reset(request: Request) -> str:
        await desk.ask(request.scope, "resetServer", ids=request.path_params)
        return "reset"

    async def refresh(request: Request) -> str:
        await desk.ask(request.scope, "refreshServer", ids=request.path_params)
        return "refreshed"

    async def forget(request: Request) -> str:
        scope, whose = request.scope, form_of(request.scope)["for"]
        await desk.ask(scope, "forgetServerGrant", ids=request.path_params, query={"for": whose})
        await desk.reload()
        if whose == "all":
            # So that its sessions end, for which the token was good, and everybody sees what is to be done.
            await desk.ask(scope, "resetServer", ids=request.path_params)
        return "forgotten"

    async def delete(request: Request) -> str:
        version = form_of(request.scope)["version"]
        await desk.ask(request.scope, "deleteServer", ids=request.path_params, version=version)
        await desk.reload()
        return "deleted"

    actions = (switch, reset, refresh, forget, delete)
    return [Route(f"{_ONE}/{each.__name__}", _action(desk, each), methods=["POST"]) for each in actions]


def _action(desk: Desk, act: Callable[[Request], Awaitable[str]]) -> Callable[[Request], Awaitable[Response]]:
    """Return the page for an action, which says what was done: on the list, where that was asked for or all is left."""

    async def page(request: Request) -> Response:
        try:
            done = await act(request)
        except Refused as refused:
            if not refused.correctable:
                raise
            return await detail(desk, request, fault=refused.text, status=refused.page_status)
        back = done == "deleted" or form_of(request.scope)["back"] == "list"
        return to(request.scope, PATH if back else f"{PATH}/{request.path_params['id']}", done=done)

    return page
