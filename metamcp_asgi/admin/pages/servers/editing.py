"""The form of a server, for a new one and for one that there is."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from metamcp_asgi.admin.api.shapes import Server
from metamcp_asgi.admin.pages.asking import changeable
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.admin.pages.servers.form import blank, body_of, errors_of, filled, typed
from metamcp_asgi.admin.pages.servers.shown import (
    ERAS,
    PATH,
    SHARINGS,
    TYPES,
    owners,
    translated,
)
from metamcp_asgi.config.private_keys import ALGORITHMS
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to
from metamcp_asgi.signin.people import person

__all__ = ["routes"]

_OAUTH: Final = (
    ("auto", N_("When the server asks for it")),
    ("authorization_code", N_("A person agrees")),
    ("client_credentials", N_("The gateway asks in its own name")),
    ("none", N_("Never")),
)
_GRANTS: Final = (
    ("server", N_("One authorization for everybody")),
    ("user", N_("Each person authorizes for themselves")),
)
_ALGORITHMS: Final = (("", N_("What fits the key")), *((name, name) for name in ALGORITHMS))


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these pages."""

    async def new(request: Request) -> Response:
        scope = request.scope
        may = (await desk.ask(scope, "getCaller")).body
        fields = blank("stdio" if may.may_create_stdio else "streamable_http", str(may.id))
        refused = None
        if request.method == "POST":
            form = form_of(scope)
            try:
                made = (await desk.ask(scope, "createServer", body_of(form, None))).body
            except Refused as error:
                refused, fields = _correctable(error), {**fields, **typed(form, None)}
            else:
                await desk.reload()
                return to(scope, f"{PATH}/{made.id}", done="created")
        return _page(
            request,
            refused,
            server=None,
            version="",
            fields=fields,
            owners=_choices(scope, [str(may.id), *(["public"] if may.may_create_public else [])]),
            stdio=may.may_create_stdio,
        )

    async def edit(request: Request) -> Response:
        scope, ids = request.scope, request.path_params
        read = await desk.ask(scope, "getServer", ids=ids)
        server: Server = read.body
        if not changeable(scope, server):
            raise Fault(403, N_("This server is not yours to change."))
        may = (await desk.ask(scope, "getCaller")).body
        fields, version, refused = filled(server), str(read.version), None
        if request.method == "POST":
            form = form_of(scope)
            version = form["version"]
            try:
                await desk.ask(scope, "updateServer", body_of(form, server), ids=ids, version=version)
            except Refused as error:
                refused, fields = _correctable(error), {**fields, **typed(form, server)}
            else:
                await desk.reload()
                return to(scope, f"{PATH}/{server.id}", done="saved")
        known = await owners(desk, scope, [server])
        possible = [str(may.id), "public", filled(server)["owner"]] if may.role == "admin" else []
        return _page(
            request,
            refused,
            server=server,
            version=version,
            fields=fields,
            owners=_choices(scope, possible, known.get(server.owner_id, "") if server.owner_id else ""),
            stdio=may.may_create_stdio or server.type == "stdio",
        )

    methods = ["GET", "POST"]
    return [Route(f"{PATH}/new", new, methods=methods), Route(f"{PATH}/{{id:uuid}}/edit", edit, methods=methods)]


def _correctable(refused: Refused) -> Refused:
    if not refused.correctable:
        raise refused
    return refused


def _choices(scope: Scope, owners: list[str], email: str = "") -> list[tuple[str, str]]:
    """Return the owners that a server may have, each once, and how they are called."""
    names = {str(person(scope).acting.id): N_("Only me"), "public": N_("Everybody (public)")}
    return translated(scope, [(owner, names.get(owner) or email or owner) for owner in dict.fromkeys(owners)])


def _page(request: Request, refused: Refused | None, **values: Any) -> Response:
    errors = {} if refused is None else errors_of(refused)
    scope = request.scope
    return render(
        scope,
        "admin/servers/form.html",
        status=200 if refused is None else refused.page_status,
        fault="" if refused is None else refused.text,
        errors=errors,
        types=[(kind, name) for kind, name in TYPES.items() if kind != "stdio" or values["stdio"]],
        eras=translated(scope, ERAS),
        sharings=translated(scope, SHARINGS),
        modes=translated(scope, _OAUTH),
        grants=translated(scope, _GRANTS),
        algorithms=translated(scope, _ALGORITHMS),
        path=f"{PATH}/new" if values["server"] is None else f"{PATH}/{values['server'].id}/edit",
        **values,
    )
