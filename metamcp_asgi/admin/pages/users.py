"""Users, for admins: who there is and in which role, added, changed, switched off and removed."""

from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.asking import asked_of, notice_of
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.pages.forms import Form, form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to

__all__ = ["PATHS", "routes"]

PATHS: Final = ("/users",)
_NOTICES: Final = {
    "added": N_("The user was added."),
    "saved": N_("The user was changed."),
    "password": N_("The password was set. The user is signed out everywhere."),
    "signed-out": N_("The user is signed out everywhere."),
    "deleted": N_("The user was deleted."),
}
_KINDS: Final = {
    "servers": N_("Servers"),
    "namespaces": N_("Namespaces"),
    "endpoints": N_("Endpoints"),
    "api_keys": N_("API keys"),
    "oauth_clients": N_("OAuth clients"),
    "oauth_grants": N_("What they granted to OAuth clients"),
    "credentials": N_("Connections to servers"),
}
"""What goes with a user, by its name in the API, in the order in which it is shown."""


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these pages."""
    pages = _Pages(desk)
    both = ["GET", "POST"]
    one = "/users/{id:uuid}"
    return [
        Route("/users", pages.listing),
        Route("/users/new", pages.new, methods=both),
        Route(one, pages.one, methods=both),
        Route(f"{one}/password", pages.password, methods=["POST"]),
        Route(f"{one}/sign-out", pages.sign_out, methods=["POST"]),
        Route(f"{one}/delete", pages.delete, methods=both),
    ]


class _Pages:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def listing(self, request: Request) -> Response:
        """Show the users, or those that are searched for."""
        asked = asked_of(request, "search", "after")
        page = (await self._desk.ask(request.scope, "listUsers", query=asked)).body
        notice = notice_of(request, _NOTICES)
        return render(request.scope, "admin/users/list.html", page=page, search=asked["search"], notice=notice)

    async def new(self, request: Request) -> Response:
        """Show the form of a new user, and add them."""
        scope, form = request.scope, form_of(request.scope)
        refused = None
        if request.method == "POST":
            body = {name: form[name].strip() for name in ("email", "name", "role")}
            body |= {"password": form["password"]} if form["password"] else {}
            try:
                made = await self._desk.ask(scope, "createUser", body)
            except Refused as error:
                refused = _to_be_corrected(error)
            else:
                return to(scope, f"/users/{made.body.id}", done="added")
        return render(scope, "admin/users/new.html", form=form, **_wrong(refused))

    async def one(self, request: Request) -> Response:
        """Show a user, and change them."""
        scope, form = request.scope, form_of(request.scope)
        identity: UUID = request.path_params["id"]
        if request.method != "POST":
            return await self._shown(request)
        body: dict[str, Any] = {name: form[name].strip() for name in ("email", "name", "role")}
        body["disabled"] = "enabled" not in form
        try:
            await self._desk.ask(scope, "updateUser", body, ids={"id": identity}, version=form["version"])
        except Refused as error:
            return await self._shown(request, _to_be_corrected(error), form)
        return to(scope, f"/users/{identity}", done="saved")

    async def password(self, request: Request) -> Response:
        """Set the password of another user."""
        scope, identity = request.scope, request.path_params["id"]
        body = {"password": form_of(scope)["password"]}
        try:
            await self._desk.ask(scope, "setPassword", body, ids={"id": identity})
        except Refused as error:
            return await self._shown(request, _to_be_corrected(error))
        return to(scope, f"/users/{identity}", done="password")

    async def sign_out(self, request: Request) -> Response:
        """Sign a user out of every browser."""
        identity = request.path_params["id"]
        await self._desk.ask(request.scope, "endSessions", ids={"id": identity})
        return to(request.scope, f"/users/{identity}", done="signed-out")

    async def delete(self, request: Request) -> Response:
        """Say what would go with a user, and remove them."""
        scope, ids = request.scope, {"id": request.path_params["id"]}
        refused = None
        if request.method == "POST":
            try:
                await self._desk.ask(scope, "deleteUser", ids=ids, version=form_of(scope)["version"])
            except Refused as error:
                refused = _to_be_corrected(error)
            else:
                return to(scope, "/users", done="deleted")
        read = await self._desk.ask(scope, "getUser", ids=ids)
        things = (await self._desk.ask(scope, "getUserThings", ids=ids)).body
        gone = [(text, things[kind]) for kind, text in _KINDS.items() if kind in things]
        wrong = _wrong(refused)
        return render(scope, "admin/users/delete.html", user=read.body, version=read.version, gone=gone, **wrong)

    async def _shown(self, request: Request, refused: Refused | None = None, form: Form | None = None) -> Response:
        """Return the page of a user, with what was sent where that was refused."""
        read = await self._desk.ask(request.scope, "getUser", ids={"id": request.path_params["id"]})
        known = read.body
        values = {"email": known.email, "name": known.name, "role": known.role, "enabled": not known.disabled}
        version = str(read.version)
        if form is not None:
            values = {name: form[name] for name in ("email", "name", "role")} | {"enabled": "enabled" in form}
            # Who has just been told of somebody else's change may send theirs once more.
            version = version if refused is not None and refused.status == 412 else form["version"]
        return render(
            request.scope,
            "admin/users/user.html",
            user=known,
            values=values,
            version=version,
            notice="" if refused else notice_of(request, _NOTICES),
            **_wrong(refused),
        )


def _to_be_corrected(refused: Refused) -> Refused:
    """Return what a form is shown again with.

    Raises:
        Refused: Nothing in the form would be right. What nobody may do for now, as to the last admin, is told there.
    """
    if not refused.correctable and refused.status != 403:
        raise refused
    return refused


def _wrong(refused: Refused | None) -> dict[str, Any]:
    """Return what a page tells of a refusal, if there was one."""
    if refused is None:
        return {"errors": {}, "fault": "", "status": 200}
    return {"errors": refused.fields, "fault": "" if refused.fields else refused.text, "status": refused.status}
