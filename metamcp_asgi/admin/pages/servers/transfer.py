"""Servers from a file of this or another program, of which is first shown what it would do; and servers as a file."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.api.body import JSON, Text
from metamcp_asgi.admin.api.problem import Problem
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.admin.pages.servers.shown import PATH, translated
from metamcp_asgi.config.jsonc import plain_json
from metamcp_asgi.config.parse import parse_json
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.pages.forms import Form, form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to
from metamcp_asgi.signin.people import person

__all__ = ["routes"]

_VARIABLE: Final = "variable."
_OWNERS: Final = (("me", N_("Only me")), ("public", N_("Everybody (public)")))
_WHOSE: Final = (("", N_("All that I can see")), ("me", N_("My own")), ("public", N_("Public")))
_FILE: Final = "mcp-servers-export.json"
"""MetaMCP's name."""


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these pages."""

    async def take(request: Request) -> Response:
        scope, form = request.scope, form_of(request.scope)
        owner = form["owner"] or "me"
        values: dict[str, Any] = {"plan": None, "fault": "", "status": 200}
        if request.method == "POST":
            doing = form["do"] == "import"
            # Only admins say whose; members mean their own.
            whose = owner if person(scope).acting.admin else None
            query = {"dryRun": not doing, "replace": "replace" in form, "owner": whose}
            given = _variables(form)
            try:
                plan = (await desk.ask(scope, "importServers", _document(form["document"], given), query=query)).body
            except Refused as refused:
                if not refused.correctable and refused.status != 400:
                    raise
                values |= {"fault": refused.text, "status": refused.page_status}
            else:
                if doing:
                    await desk.reload()
                    return to(scope, PATH, done="imported")
                values["plan"] = plan
                values["variables"] = [(name, "", value) for name, value in given.items()]
                values["variables"] += [(name, why, "") for name, why in plan.variables.items()]
        return render(
            scope,
            "admin/servers/import.html",
            document=form["document"],
            owner=owner,
            replace="replace" in form,
            owners=translated(scope, _OWNERS),
            **values,
        )

    async def give(request: Request) -> Response:
        scope, owner = request.scope, request.query_params.get("owner", "")
        fault, text = "", ""
        try:
            text = await exported(request)
        except Refused as refused:
            if not refused.correctable:
                raise
            fault = refused.text
        return render(
            scope,
            "admin/servers/export.html",
            status=409 if fault else 200,
            text=text,
            fault=fault,
            owner=owner,
            whose=translated(scope, _WHOSE),
            file=_FILE,
        )

    async def file(request: Request) -> Response:
        headers = {"content-disposition": f'attachment; filename="{_FILE}"', "cache-control": "no-store"}
        return Response(await exported(request), media_type=JSON, headers=headers)

    async def exported(request: Request) -> str:
        asked = {"owner": request.query_params.get("owner") or None}
        found = (await desk.ask(request.scope, "exportServers", query=asked)).body
        return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()

    return [
        Route(f"{PATH}/import", take, methods=["GET", "POST"]),
        Route(f"{PATH}/export", give),
        Route(f"{PATH}/{_FILE}", file),
    ]


def _variables(form: Form) -> dict[str, str]:
    """Return the variables of the file that were typed."""
    typed = {name.removeprefix(_VARIABLE): form[name] for name in form.names() if name.startswith(_VARIABLE)}
    return {name: value for name, value in typed.items() if value}


def _document(text: str, variables: Mapping[str, str]) -> Text:
    """Return a document with the variables that were typed for it."""
    if not text.strip():
        raise Refused(Problem(422, N_("Paste the file, or choose it.")))
    if variables:
        try:
            document = parse_json(plain_json(text.removeprefix("\ufeff")))
        except ConfigError:
            return Text(JSON, text)  # the API says what is wrong with it
        if isinstance(document, dict):
            known = document.get("variables")
            document["variables"] = {**(known if isinstance(known, dict) else {}), **variables}
            text = msgspec.json.encode(document).decode()
    return Text(JSON, text)
