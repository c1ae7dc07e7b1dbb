"""The inspector's page, and the lists from which a person chooses what to inspect.

The page itself is a script (``pages/static/inspector``), which is told where to connect and the texts that it shows.
"""

import uuid
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi import __version__
from metamcp_asgi.admin.inspection import INSPECT
from metamcp_asgi.admin.pages.asking import asked_of
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.inspector.texts import TEXTS
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.i18n import N_, translations
from metamcp_asgi.pages.render import render
from metamcp_asgi.pages.visit import visit_of
from metamcp_asgi.protocol.revisions import ALL, MODERN

__all__ = ["PATHS", "routes"]

PATHS: Final = ("/mcp-inspector",)
_ROWS: Final = 100
_POLICY: Final = (
    # What servers say is never read as markup: browsers that know this rule refuse the ways to do so (Trusted Types).
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
    # Sounds come inside of messages, as pictures do.
    "media-src data:",
)


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def inspector(request: Request) -> Response:
        query = request.query_params
        if server := query.get("server"):
            found = (await desk.ask(request.scope, "getServer", ids={"id": _id(server)})).body
            return _page(request, f"servers/{found.id}", found.name, N_("Server"))
        if endpoint := query.get("endpoint"):
            found = (await desk.ask(request.scope, "getEndpoint", ids={"id": _id(endpoint)})).body
            return _page(request, f"endpoints/{found.id}", found.name, N_("Endpoint"))
        asked = asked_of(request, "search", "servers", "endpoints")
        shown: dict[str, Any] = {}
        for name, operation in (("servers", "listServers"), ("endpoints", "listEndpoints")):
            wanted = {"limit": _ROWS, "search": asked["search"], "after": asked[name]}
            shown[name] = (await desk.ask(request.scope, operation, query=wanted)).body
        return render(request.scope, "admin/inspector/choose.html", asked=asked, **shown)

    return [Route("/mcp-inspector", inspector)]


def _page(request: Request, target: str, name: str, kind: str) -> Response:
    visit = visit_of(request.scope)
    told = translations(visit.language).gettext
    setup = {
        "address": visit.url(f"{INSPECT}/{target}/mcp"),
        "token": visit.csrf,
        "version": __version__,
        "modern": MODERN,
        "texts": {text: told(text) for text in TEXTS},
    }
    return render(
        request.scope,
        "admin/inspector/inspector.html",
        policy=_POLICY,
        name=name,
        kind=kind,
        revisions=ALL,
        modern=MODERN,
        setup=msgspec.json.encode(setup).decode(),
    )


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise Fault(404, N_("There is no such server or endpoint.")) from None
