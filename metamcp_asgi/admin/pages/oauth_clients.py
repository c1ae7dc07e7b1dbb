"""OAuth clients: those that registered or were made, and what people granted to them."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.asking import asked_of, notice_of
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to
from metamcp_asgi.pages.visit import visit_of

__all__ = ["PATHS", "routes"]

PATHS: Final = ("/oauth-clients",)
_GRANTS: Final = "/oauth-clients/grants"
_NOTICES: Final = {
    "client": N_("The client was revoked, with all that was granted to it."),
    "grant": N_("What was granted was revoked."),
}


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these pages."""

    async def clients(request: Request) -> Response:
        scope, fault, errors, status = request.scope, "", {}, 200
        form = form_of(scope)
        if request.method == "POST":
            try:
                made = (await desk.ask(scope, "createClient", {"name": form["name"]})).body
            except Refused as refused:
                if not refused.correctable:
                    raise
                errors, fault, status = refused.fields, "" if refused.fields else refused.text, refused.status
            else:
                # Shown in the answer itself: nothing that could be read again may have the secret.
                visit = visit_of(scope)
                where = f"{visit.place.origin(scope)}{visit.url('/oauth/token')}"
                return render(scope, "admin/oauth_clients/made.html", status=201, made=made, token_endpoint=where)
        asked = asked_of(request, "search", "after")
        page = (await desk.ask(scope, "listClients", query=asked)).body
        return render(
            scope,
            "admin/oauth_clients/clients.html",
            status=status,
            page=page,
            search=asked["search"],
            name=form["name"],
            errors=errors,
            fault=fault,
            notice=notice_of(request, _NOTICES),
        )

    async def grants(request: Request) -> Response:
        page = (await desk.ask(request.scope, "listConsents", query=asked_of(request, "after"))).body
        return render(request.scope, "admin/oauth_clients/grants.html", page=page, notice=notice_of(request, _NOTICES))

    async def revoke_client(request: Request) -> Response:
        await _removed(request, "deleteClient")
        return to(request.scope, "/oauth-clients", done="client")

    async def revoke_grant(request: Request) -> Response:
        await _removed(request, "deleteConsent")
        return to(request.scope, _GRANTS, done="grant")

    async def _removed(request: Request, operation: str) -> None:
        ids = {"id": request.path_params["id"]}
        await desk.ask(request.scope, operation, ids=ids, version=form_of(request.scope)["version"])

    return [
        Route("/oauth-clients", clients, methods=["GET", "POST"]),
        Route(_GRANTS, grants),
        Route("/oauth-clients/{id:uuid}/revoke", revoke_client, methods=["POST"]),
        Route(f"{_GRANTS}/{{id:uuid}}/revoke", revoke_grant, methods=["POST"]),
    ]
