"""The line of one tool in the list, which htmx puts in the place of the one that is there, or of its form."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Scope

from metamcp_asgi.admin.pages.asking import changeable
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.admin.pages.namespaces.shown import PATH, ShownTool
from metamcp_asgi.pages.render import render

__all__ = ["row"]


async def row(desk: Desk, scope: Scope, ids: Mapping[str, Any], notice: str = "") -> Response:
    """Return the line of a tool as it is now, nothing where there is no such tool any more, and the numbers of all.

    Args:
        desk: Carries out operations.
        scope: The request.
        ids: The namespace, the server and the tool.
        notice: What was done.
    """
    namespace = (await desk.ask(scope, "getNamespace", ids={"id": ids["id"]})).body
    try:
        shown = ShownTool.of((await desk.ask(scope, "getTool", ids=ids)).body)
    except Refused as refused:
        if refused.status != 404:
            raise
        shown = None
    counts = (await desk.ask(scope, "listTools", ids={"id": ids["id"]}, query={"limit": 1})).body.counts
    return render(
        scope,
        "admin/namespaces/line.html",
        shown=shown,
        counts=counts,
        may=changeable(scope, namespace),
        path=f"{PATH}/{namespace.id}",
        notice=notice,
    )
