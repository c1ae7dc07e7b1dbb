"""The form in which an endpoint is made or changed."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.admin.pages.endpoints.form import Fields, body_of, empty, filled, misplaced, typed
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to
from metamcp_asgi.signin.people import person

__all__ = ["Editing"]

_PATH: Final = "/endpoints"
_MODES: Final = (
    ("off", N_("No access tokens")),
    ("own", N_("Those that this gateway gives")),
    ("other", N_("Those of another authorization server")),
)
_STRATEGIES: Final = (
    ("ip", N_("By address")),
    ("principal", N_("By key or person")),
    ("header", N_("By the value of a header")),
)


class Editing:
    """The pages on which endpoints are made and changed.

    Args:
        desk: Does what they ask for.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create(self, request: Request) -> Response:
        """Show the form of a new endpoint, or make it."""
        scope = request.scope
        me = (await self._desk.ask(scope, "getCaller")).body
        mine = str(person(scope).id)
        owners = [(mine, N_("Only for me")), *([("public", N_("For everybody"))] if me.may_create_public else [])]
        if request.method != "POST":
            wanted = {"namespace": request.query_params.get("namespace", "")}
            return await self._form(request, {**empty(mine), **wanted}, owners)
        fields = typed(form_of(scope))
        try:
            made = (await self._desk.ask(scope, "createEndpoint", body_of(fields))).body
        except Refused as refused:
            return await self._form(request, fields, owners, refused)
        await self._desk.reload()
        return to(scope, f"{_PATH}/{made.id}", done="created")

    async def edit(self, request: Request) -> Response:
        """Show the form of an endpoint, or change it."""
        scope, ids = request.scope, request.path_params
        reply = await self._desk.ask(scope, "getEndpoint", ids=ids)
        owners = self._owners(scope, reply.body)
        if request.method != "POST":
            return await self._form(request, filled(reply.body), owners, version=reply.version)
        form = form_of(scope)
        fields = typed(form)
        try:
            await self._desk.ask(scope, "updateEndpoint", body_of(fields), ids=ids, version=form["version"])
        except Refused as refused:
            return await self._form(request, fields, owners, refused, version=form["version"])
        await self._desk.reload()
        return to(scope, f"{_PATH}/{ids['id']}", done="saved")

    async def _form(
        self,
        request: Request,
        fields: Fields,
        owners: list[tuple[str, str]],
        refused: Refused | None = None,
        version: int | str | None = None,
    ) -> Response:
        if refused is not None and not refused.correctable:
            raise refused
        namespaces = await self._desk.all(request.scope, "listNamespaceNames")
        return render(
            request.scope,
            "admin/endpoints/form.html",
            status=200 if refused is None else refused.page_status,
            identity=request.path_params.get("id"),
            version=version,
            fields=fields,
            owners=owners,
            namespaces=[(str(each.id), each.name) for each in namespaces],
            modes=_MODES,
            strategies=_STRATEGIES,
            errors={} if refused is None else misplaced(refused.fields, fields),
            fault="" if refused is None else refused.text,
        )

    def _owners(self, scope: Scope, endpoint: Any) -> list[tuple[str, str]]:
        """Return whose an endpoint may become; only admins give things away."""
        me = person(scope)
        if not me.acting.admin:
            return []
        choices = {str(me.id): N_("Only for me")}
        if endpoint.owner_id is not None:
            choices.setdefault(str(endpoint.owner_id), endpoint.owner or str(endpoint.owner_id))
        return [*choices.items(), ("public", N_("For everybody"))]
