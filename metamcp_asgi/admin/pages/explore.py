"""Explore: servers in an MCP registry, searched, and added with the values that they need."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.asking import asked_of
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.forms import Form, form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to

__all__ = ["PATHS", "routes"]

PATHS: Final = ("/search",)
_ANSWER: Final = "answer."
"""What the field of an answer begins with."""


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these pages."""

    async def search(request: Request) -> Response:
        asked = asked_of(request, "search", "after")
        page, fault = None, ""
        try:
            page = (await desk.ask(request.scope, "searchRegistry", query=asked)).body
        except Refused as refused:
            # Whatever the reason, somebody else's trouble: the rest of the gateway is fine.
            fault = refused.text
        return render(
            request.scope,
            "admin/explore/search.html",
            page=page,
            search=asked["search"],
            registry=desk.registry.host,
            fault=fault,
        )

    async def add(request: Request) -> Response:
        scope, query, form = request.scope, request.query_params, form_of(request.scope)
        named = {name: query.get(name) or "" for name in ("name", "version")}
        listed = (await desk.ask(scope, "getRegistryServer", query=named)).body
        way = next((way for way in listed.ways if way.id == query.get("way") and not way.obstacle), None)
        if way is None:
            raise Fault(404, N_("This server cannot be had in this way any more."))
        refused: Refused | None = None
        if request.method == "POST":
            answers = {name.removeprefix(_ANSWER): form[name] for name in form.names() if name.startswith(_ANSWER)}
            body: dict[str, Any] = {"listed": listed.name, "version": listed.version, "way": way.id}
            body |= {"name": form["server"].strip(), "description": form["description"], "answers": answers}
            body |= {"ownerId": None} if "public" in form else {}
            try:
                made = (await desk.ask(scope, "addRegistryServer", body)).body
            except Refused as error:
                # Whether somebody may add it is told where they typed what they would lose.
                if not error.correctable and error.status not in (403, 502):
                    raise
                refused = error
            else:
                return to(scope, f"/mcp-servers/{made.id}", done="created")
        return render(
            scope,
            "admin/explore/add.html",
            status=refused.status if refused is not None else 200,
            listed=listed,
            way=way,
            choices={each.key: [(text, text) for text in ("", *each.choices)] for each in way.questions},
            values=_values(form, listed, way, sent=request.method == "POST"),
            errors=refused.fields if refused is not None else {},
            fault=refused.text if refused is not None else "",
        )

    return [Route("/search", search), Route("/search/add", add, methods=["GET", "POST"])]


def _values(form: Form, listed: Any, way: Any, *, sent: bool) -> dict[str, Any]:
    """Return what the form has in it: what was sent, but for secrets, or what the registry suggests."""
    if sent:
        answers = {each.key: "" if each.secret else form[_ANSWER + each.key] for each in way.questions}
        kept = {name: form[name] for name in ("server", "description")}
        return {**kept, "public": "public" in form, "answers": answers}
    suggested = "".join(each if each.isalnum() and each.isascii() else "-" for each in listed.name.rpartition("/")[2])
    answers = {each.key: "" if each.secret else each.default for each in way.questions}
    return {
        "server": suggested.strip("-"),
        "description": listed.description,
        "public": False,
        "answers": answers,
    }
