"""The first page: what there is, what is wrong, and while nothing can be used yet, what to do next.

Counts are those of a first page of each list, so that the page is as quick with thousands of things.
"""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from metamcp_asgi.admin.api.metrics import CallStatistics
from metamcp_asgi.admin.api.running import ServerHealth
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render
from metamcp_asgi.signin.people import person

__all__ = ["PATHS", "routes"]

PATHS: Final = ("/",)
_MOST: Final = 200
"""Up to how many things are counted."""
_FAILED: Final = 10
"""How many servers are shown that failed."""
_SETTING_UP: Final = (
    (
        N_("Add a server"),
        N_("A server is what offers tools: a program on the gateway's machine, or a URL."),
        (("/mcp-servers/new", N_("Add a server")), ("/mcp-servers/import", N_("Import")), ("/search", N_("Explore"))),
    ),
    (
        N_("Make a namespace"),
        N_("A namespace groups servers and decides which of their tools clients see, and how."),
        (("/namespaces/new", N_("New namespace")),),
    ),
    (
        N_("Add an endpoint"),
        N_("An endpoint is what clients connect to: a URL by which the tools of a namespace are published."),
        (("/endpoints/new", N_("Add an endpoint")),),
    ),
    (
        N_("Make a key"),
        N_("With a key, a client shows that it may use an endpoint."),
        (("/api-keys/new", N_("Make a key")),),
    ),
)
"""What a new gateway needs, in order: what to do, what for, and where."""


class Step(Struct, frozen=True):
    """A step of ``_SETTING_UP``, and whether it is done."""

    text: str
    reason: str
    ways: Sequence[tuple[str, str]]
    done: bool


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def overview(request: Request) -> Response:
        scope = request.scope
        servers: Sequence[ServerHealth] = (await desk.ask(scope, "getHealth")).body.servers
        lists = {
            kind: (await desk.ask(scope, name, query={"limit": _MOST})).body
            for kind, name in (
                ("namespaces", "listNamespaceNames"),
                ("endpoints", "listEndpoints"),
                ("api_keys", "listKeys"),
            )
        }
        states = dict.fromkeys(("ready", "starting", "failed", "disabled"), 0)
        for server in servers:
            states[server.state] += 1
        return render(
            scope,
            "admin/overview/overview.html",
            steps=_steps(servers, **lists),
            servers=len(servers),
            states=states,
            counts={kind: f"{len(page.items)}{'+' if page.next else ''}" for kind, page in lists.items()},
            failed=[server for server in servers if server.state == "failed"][:_FAILED],
            calls=await _calls(desk, scope),
        )

    return [Route("/", overview)]


async def _calls(desk: Desk, scope: Scope) -> CallStatistics | None:
    """Return the numbers of the last hour, for admins; they are no reason to show nothing else when they fail."""
    if not person(scope).acting.admin:
        return None
    try:
        read = await desk.ask(scope, "listMetrics", query={"span": "1h", "top": 1})
    except Refused:
        return None
    calls: CallStatistics = read.body
    return calls


def _steps(servers: Sequence[ServerHealth], namespaces: Any, endpoints: Any, api_keys: Any) -> list[Step]:
    """Return the steps to a gateway that clients can use; none when all are done."""
    opened = any(not endpoint.api_key_auth for endpoint in endpoints.items)
    done = (servers, namespaces.items, endpoints.items, api_keys.items or opened)
    steps = [Step(*step, bool(has)) for step, has in zip(_SETTING_UP, done, strict=True)]
    return [] if all(step.done for step in steps) else steps
