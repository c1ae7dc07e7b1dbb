"""One tool of a namespace: what it is called and what is said of it there, with what clients will see of it.

With htmx the form opens in the list, and what clients will see follows what is typed; without, it is a page.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from metamcp_asgi.admin.api.tool_shapes import NamespaceTool, Preview
from metamcp_asgi.admin.pages.asking import changeable
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.admin.pages.namespaces.row import row
from metamcp_asgi.admin.pages.namespaces.shown import (
    NOTICES,
    ONE,
    PATH,
    ShownTool,
    by_htmx,
    gettext,
    identity,
    json_fault,
)
from metamcp_asgi.pages.forms import Form, form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to

__all__ = ["routes"]

_TEXTS: Final = ("name", "title", "description")


class _Seen(Struct, frozen=True):
    """What clients would see of a tool, as in ``Preview``, its JSON as people read it."""

    name: str | None
    because: str
    long: bool
    later: bool
    modern: str
    legacy: str


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of the form."""

    async def tool(request: Request) -> Response:
        query = request.query_params
        ids = _ids(request, query.get("server", ""), query.get("tool", ""))
        read = await desk.ask(request.scope, "getTool", ids=ids)
        if "closed" in query:
            return await row(desk, request.scope, ids)
        return await _shown(desk, request, read.body, _filled(read.body))

    async def preview(request: Request) -> Response:
        scope, form = request.scope, form_of(request.scope)
        ids = _ids(request, form["server"], form["tool"])
        known = (await desk.ask(scope, "getTool", ids=ids)).body
        if not by_htmx(request):
            return await _shown(desk, request, known, _sent(form), version=form["version"])
        seen, errors, fault = await _previewed(desk, scope, ids, known, _sent(form))
        return render(scope, "admin/namespaces/preview.html", seen=seen, wrong=fault or " ".join(errors.values()))

    async def save(request: Request) -> Response:
        scope, form = request.scope, form_of(request.scope)
        ids = _ids(request, form["server"], form["tool"])
        known = (await desk.ask(scope, "getTool", ids=ids)).body
        changes, errors = _changes(scope, known, _sent(form))
        if errors:
            return await _shown(desk, request, known, _sent(form), errors=errors, version=form["version"], status=422)
        return await _write(desk, request, "updateTool", known, changes, "tool-saved")

    async def reset(request: Request) -> Response:
        form = form_of(request.scope)
        known = (await desk.ask(request.scope, "getTool", ids=_ids(request, form["server"], form["tool"]))).body
        if known.enabled or not known.offered:
            return await _write(desk, request, "clearTool", known, None, "tool-reset")
        # Its switch stays off.
        nothing: dict[str, Any] = dict.fromkeys((*_TEXTS, "annotations"))
        return await _write(desk, request, "updateTool", known, nothing, "tool-reset")

    return [
        Route(f"{ONE}/tool", tool),
        *(Route(f"{ONE}/tool/{each.__name__}", each, methods=["POST"]) for each in (preview, save, reset)),
    ]


def _ids(request: Request, server: str, tool: str) -> dict[str, Any]:
    return {"id": request.path_params["id"], "server": identity(server), "tool": tool}


def _filled(tool: NamespaceTool) -> dict[str, str]:
    """Return the fields of the form for a tool as it is."""
    annotations = "" if tool.annotations is None else json.dumps(tool.annotations, indent=2, ensure_ascii=False)
    return {**{name: getattr(tool, name) or "" for name in _TEXTS}, "annotations": annotations}


def _sent(form: Form) -> dict[str, str]:
    return {name: form[name].strip() for name in (*_TEXTS, "annotations")}


def _changes(scope: Scope, tool: NamespaceTool, fields: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what is another one than is known of a tool, as the API takes it; or what is wrong."""
    known = _filled(tool)
    changes: dict[str, Any] = {name: fields[name] or None for name in _TEXTS if fields[name] != known[name]}
    if fields["annotations"] == known["annotations"]:
        return changes, {}
    try:
        annotations = json.loads(fields["annotations"] or "null")
    except json.JSONDecodeError as error:
        return {}, {"/annotations": json_fault(scope, error)}
    if not isinstance(annotations, dict | None):
        return {}, {"/annotations": gettext(scope, N_('This must be a JSON object: {"readOnlyHint": true}.'))}
    return {**changes, "annotations": annotations}, {}


async def _write(
    desk: Desk, request: Request, operation: str, known: NamespaceTool, changes: Any, done: str
) -> Response:
    """Change a tool, and return the way back to the list, or for htmx the line of the list."""
    scope, form = request.scope, form_of(request.scope)
    ids = _ids(request, form["server"], form["tool"])
    try:
        await desk.ask(scope, operation, changes, ids=ids, version=form["version"])
    except Refused as refused:
        if not refused.correctable:
            raise
        fault = "" if refused.fields else refused.text
        version, status = form["version"], refused.page_status
        fields = _sent(form)
        return await _shown(
            desk, request, known, fields, errors=refused.fields, fault=fault, version=version, status=status
        )
    if not by_htmx(request):
        return to(scope, f"{PATH}/{ids['id']}", done=done, search=form["tool"])
    return await row(desk, scope, ids, NOTICES[done])


async def _shown(
    desk: Desk,
    request: Request,
    tool: NamespaceTool,
    fields: Mapping[str, str],
    *,
    errors: Mapping[str, str] | None = None,
    fault: str = "",
    version: str | int | None = None,
    status: int = 200,
) -> Response:
    """Return the form, in the list or as a page."""
    scope = request.scope
    ids = {"id": request.path_params["id"], "server": tool.server_id, "tool": tool.tool}
    namespace = (await desk.ask(scope, "getNamespace", ids={"id": ids["id"]})).body
    seen, wrong, refused = await _previewed(desk, scope, ids, tool, fields)
    return render(
        scope,
        f"admin/namespaces/{'opened' if by_htmx(request) else 'tool'}.html",
        status=status,
        namespace=namespace,
        shown=ShownTool.of(tool),
        fields=fields,
        seen=seen,
        own_annotations="" if tool.own is None or not tool.own.annotations else json.dumps(tool.own.annotations),
        errors=errors or wrong,
        wrong=fault or refused,
        version=tool.version if version is None else version,
        may=changeable(scope, namespace),
        path=f"{PATH}/{namespace.id}",
    )


async def _previewed(
    desk: Desk, scope: Scope, ids: Mapping[str, Any], known: NamespaceTool, fields: Mapping[str, str]
) -> tuple[_Seen | None, Mapping[str, str], str]:
    """Return what clients would see of a tool, or what is wrong with a field, or on the whole."""
    changes, errors = _changes(scope, known, fields)
    if errors:
        return None, errors, ""
    try:
        found: Preview = (await desk.ask(scope, "previewTool", changes, ids=ids)).body
    except Refused as refused:
        if not refused.correctable:
            raise
        return None, refused.fields, "" if refused.fields else refused.text
    modern, legacy = (json.dumps(each, indent=2, ensure_ascii=False) for each in (found.modern, found.legacy))
    return _Seen(found.name, found.because, found.long, found.later, modern, legacy), {}, ""
