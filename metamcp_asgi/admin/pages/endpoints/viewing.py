"""The list of endpoints, and one endpoint with its URLs, what clients are given, and its namespace to switch."""

from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from metamcp_asgi.admin.pages.asking import asked_of, changeable, notice_of
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.admin.pages.endpoints.addresses import addresses, snippets, with_keys
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to
from metamcp_asgi.pages.visit import visit_of
from metamcp_asgi.store.policy import reaches

__all__ = ["PATH", "Viewing"]

PATH: Final = "/endpoints"
_NOTICES: Final = {
    "created": N_("The endpoint was created."),
    "saved": N_("The endpoint was saved."),
    "switched": N_("The endpoint publishes another namespace now. Clients that are connected are told of the change."),
    "deleted": N_("The endpoint was deleted."),
}


class Viewing:
    """The pages on which endpoints are looked at.

    Args:
        desk: Does what they ask for.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def listing(self, request: Request) -> Response:
        """Show a page of the endpoints that somebody may see."""
        scope = request.scope
        asked = asked_of(request, "search", "after")
        page = (await self._desk.ask(scope, "listEndpoints", query=asked)).body
        base = _base(scope)
        return render(
            scope,
            "admin/endpoints/list.html",
            rows=[(each, f"{base}{each.path}", changeable(scope, each)) for each in page.items],
            following=page.next,
            asked=asked,
            notice=notice_of(request, _NOTICES),
        )

    async def one(self, request: Request, fault: str = "", status: int = 200) -> Response:
        """Show one endpoint; with what was refused, where something was."""
        scope, ids = request.scope, request.path_params
        reply = await self._desk.ask(scope, "getEndpoint", ids=ids)
        endpoint, base = reply.body, _base(scope)
        may = changeable(scope, endpoint)
        return render(
            scope,
            "admin/endpoints/one.html",
            status=status,
            endpoint=endpoint,
            version=reply.version,
            may=may,
            namespaces=await self._reached(scope, endpoint.owner_id) if may else [],
            addresses=addresses(endpoint, base),
            with_keys=with_keys(endpoint, base),
            snippets=snippets(endpoint, base),
            fault=fault,
            notice="" if fault else notice_of(request, _NOTICES),
        )

    async def switch(self, request: Request) -> Response:
        """Have an endpoint publish another namespace."""
        body = {"namespaceId": form_of(request.scope)["namespace"]}
        return await self._done(request, "updateEndpoint", "switched", f"{PATH}/{request.path_params['id']}", body)

    async def delete(self, request: Request) -> Response:
        """Remove an endpoint."""
        return await self._done(request, "deleteEndpoint", "deleted", PATH)

    async def _done(
        self, request: Request, name: str, done: str, where: str, body: Mapping[str, Any] | None = None
    ) -> Response:
        scope = request.scope
        version = form_of(scope)["version"]
        try:
            await self._desk.ask(scope, name, body, ids=request.path_params, version=version)
        except Refused as refused:
            if not refused.correctable:
                raise
            return await self.one(request, refused.text, refused.page_status)
        await self._desk.reload()
        return to(scope, where, done=done)

    async def _reached(self, scope: Scope, owner: Any) -> list[tuple[str, str]]:
        """Return the namespaces that an endpoint of an owner may publish, as choices."""
        found = await self._desk.all(scope, "listNamespaceNames")
        return [(str(each.id), each.name) for each in found if reaches(owner, each.owner_id)]


def _base(scope: Scope) -> str:
    visit = visit_of(scope)
    return visit.place.origin(scope) + visit.base
