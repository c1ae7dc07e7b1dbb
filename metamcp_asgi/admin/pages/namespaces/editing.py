"""A namespace is made, changed and deleted with forms.

Its middlewares are a list in JSON, in which each can have options of its own; beside it is told which there are.
"""

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from metamcp_asgi.admin.api.shapes import Namespace
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.admin.pages.namespaces.detail import detail
from metamcp_asgi.admin.pages.namespaces.shown import ONE, PATH, PREFIXES, gettext, json_fault
from metamcp_asgi.pages.forms import Form, form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to
from metamcp_asgi.signin.people import person

__all__ = ["routes"]

_PUBLIC: Final = "public"


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of the forms."""

    async def new(request: Request) -> Response:
        scope = request.scope
        fields = {"name": "", "description": "", "prefix": "always", "middlewares": "", "owner": str(person(scope).id)}
        if request.method == "GET":
            return await _shown(desk, scope, None, fields)
        fields = _sent(form_of(scope))
        body, errors = _body(scope, fields)
        if errors:
            return await _shown(desk, scope, None, fields, errors, status=422)
        try:
            made = (await desk.ask(scope, "createNamespace", body)).body
        except Refused as refused:
            return await _again(desk, scope, None, fields, refused)
        return to(scope, f"{PATH}/{made.id}/servers/add", done="created")

    async def edit(request: Request) -> Response:
        scope, ids = request.scope, request.path_params
        read = await desk.ask(scope, "getNamespace", ids=ids, query={"details": "include"})
        known = _fields(read.body)
        if request.method == "GET":
            return await _shown(desk, scope, read.body, known, version=read.version)
        form = form_of(scope)
        fields = _sent(form)
        body, errors = _body(scope, fields, known)
        if errors:
            return await _shown(desk, scope, read.body, fields, errors, version=form["version"], status=422)
        try:
            await desk.ask(scope, "updateNamespace", body, ids=ids, version=form["version"])
        except Refused as refused:
            return await _again(desk, scope, read.body, fields, refused, version=form["version"])
        return to(scope, f"{PATH}/{ids['id']}", done="saved")

    async def delete(request: Request) -> Response:
        scope = request.scope
        try:
            version = form_of(scope)["version"]
            await desk.ask(scope, "deleteNamespace", ids=request.path_params, version=version)
        except Refused as refused:
            if not refused.correctable:
                raise
            return await detail(desk, request, wrong=refused.text, status=refused.page_status)
        return to(scope, PATH, done="deleted")

    both = ["GET", "POST"]
    return [
        Route(f"{PATH}/new", new, methods=both),
        Route(f"{ONE}/edit", edit, methods=both),
        Route(f"{ONE}/delete", delete, methods=["POST"]),
    ]


def _fields(namespace: Namespace) -> dict[str, str]:
    """Return the fields of the form for a namespace as it is."""
    return {
        "name": namespace.name,
        "description": namespace.description,
        "prefix": namespace.prefix,
        "owner": _PUBLIC if namespace.owner_id is None else str(namespace.owner_id),
        "middlewares": json.dumps(list(namespace.middlewares), indent=2) if namespace.middlewares else "",
    }


def _sent(form: Form) -> dict[str, str]:
    return {name: form[name].strip() for name in ("name", "description", "prefix", "owner", "middlewares")}


def _body(
    scope: Scope, fields: Mapping[str, str], known: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what to send to the API, of a namespace that is ``known`` what is another one; or what is wrong."""
    body: dict[str, Any] = {name: fields[name] for name in ("name", "description", "prefix")}
    body["ownerId"] = None if fields["owner"] == _PUBLIC else fields["owner"]
    try:
        body["middlewares"] = json.loads(fields["middlewares"] or "[]")
    except json.JSONDecodeError as error:
        return {}, {"/middlewares": json_fault(scope, error)}
    if known is not None:
        names = {"ownerId": "owner"}
        body = {
            name: value for name, value in body.items() if fields[names.get(name, name)] != known[names.get(name, name)]
        }
    return body, {}


async def _again(
    desk: Desk,
    scope: Scope,
    namespace: Namespace | None,
    fields: Mapping[str, str],
    refused: Refused,
    version: Any = None,
) -> Response:
    """Return the form again, with what was refused.

    Raises:
        Refused: Nobody can do anything about it here.
    """
    # What is public only admins may make, which a person learns at the field.
    errors = (
        {"/ownerId": refused.text} if refused.status == 403 and fields["owner"] == _PUBLIC else dict(refused.fields)
    )
    if not refused.correctable and not errors:
        raise refused
    for pointer, reason in refused.fields.items():
        if pointer.startswith("/middlewares/"):
            errors["/middlewares"] = f"{pointer.removeprefix('/middlewares')}: {reason}"
    fault = "" if errors else refused.text
    return await _shown(
        desk,
        scope,
        namespace,
        fields,
        errors,
        fault=fault,
        version=version,
        status=refused.status if refused.status == 403 else refused.page_status,
    )


async def _shown(
    desk: Desk,
    scope: Scope,
    namespace: Namespace | None,
    fields: Mapping[str, str],
    errors: Mapping[str, str] | None = None,
    *,
    fault: str = "",
    version: Any = None,
    status: int = 200,
) -> Response:
    known = (await desk.ask(scope, "listMiddlewares")).body.items
    return render(
        scope,
        "admin/namespaces/form.html",
        status=status,
        namespace=namespace,
        path=f"{PATH}/new" if namespace is None else f"{PATH}/{namespace.id}/edit",
        back=PATH if namespace is None else f"{PATH}/{namespace.id}",
        fields=fields,
        errors=errors or {},
        fault=fault,
        version=version,
        owners=_owners(scope, namespace),
        prefixes=[(name, gettext(scope, text)) for name, text in PREFIXES.items()],
        middlewares=[(each, json.dumps((each.options or {}).get("$defs", {}), indent=2)) for each in known],
    )


def _owners(scope: Scope, namespace: Namespace | None) -> list[tuple[str, str]]:
    """Return who can have the namespace: oneself, everybody, or whoever has it."""
    me = person(scope)
    choices: dict[str | UUID, str] = {
        str(me.id): gettext(scope, N_("Only for me")),
        _PUBLIC: gettext(scope, N_("For everybody")),
    }
    if namespace is not None and namespace.owner_id is not None:
        choices.setdefault(str(namespace.owner_id), str(namespace.owner))
    return [(str(value), text) for value, text in choices.items()]
