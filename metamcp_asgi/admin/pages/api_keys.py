"""API keys: made, changed, rotated and removed. The text of a key is in one answer, to who made or rotated it.

That answer is the one to the form itself, which no browser keeps. Sent a second time, the form is refused: the name is
taken by then, or the version is an old one. So there is no place from which the text could be had again.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Scope

from metamcp_asgi.admin.api.key_shapes import Key, KeyMade
from metamcp_asgi.admin.pages.asking import asked_of, changeable, notice_of
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.pages.forms import Form, form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to
from metamcp_asgi.signin.people import person
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.policy import key_opens

__all__ = ["PATHS", "routes"]

_PATH: Final = "/api-keys"
PATHS: Final = (_PATH,)
_GRACES: Final = (
    ("86400", N_("The key before stays good for a day")),
    ("3600", N_("The key before stays good for an hour")),
    ("604800", N_("The key before stays good for a week")),
    ("0", N_("The key before is refused at once")),
)
_NOTICES: Final = {
    "saved": N_("The key was saved."),
    "on": N_("The key was switched on."),
    "off": N_("The key was switched off."),
    "deleted": N_("The key was deleted. Clients that use it are refused from now on."),
}


class _Keys:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def listing(self, request: Request, fault: str = "", status: int = 200) -> Response:
        """Show a page of the keys that somebody may see."""
        scope = request.scope
        asked = asked_of(request, "search", "after")
        page = (await self._desk.ask(scope, "listKeys", query=asked)).body
        return render(
            scope,
            "admin/api_keys/list.html",
            status=status,
            rows=[(each, _state(each), changeable(scope, each)) for each in page.items],
            following=page.next,
            asked=asked,
            fault=fault,
            notice="" if fault else notice_of(request, _NOTICES),
        )

    async def create(self, request: Request) -> Response:
        """Show the form of a new key, or make it and show it."""
        scope, me = request.scope, person(request.scope)
        if request.method != "POST":
            wanted = [each for each in request.query_params.getlist("endpoint") if each]
            fields = {"name": "", "owner": "me", "only": bool(wanted), "endpoints": wanted, "expiresAt": ""}
            return await self._form(request, {**fields, "admin": False}, me.id)
        fields = {**_typed(form_of(scope)), "owner": form_of(scope)["owner"]}
        owner = None if fields["owner"] == "public" else me.id
        body = {**_body(fields), "ownerId": owner}
        try:
            made = await self._desk.ask(scope, "createKey", body)
        except Refused as refused:
            return await self._form(request, fields, owner, refused=refused)
        await self._desk.reload()
        return _shown_once(scope, made.body)

    async def edit(self, request: Request) -> Response:
        """Show the form of a key, or change it."""
        scope, ids = request.scope, request.path_params
        reply = await self._desk.ask(scope, "getKey", ids=ids)
        if request.method != "POST":
            return await self._form(request, _filled(reply.body), reply.body.owner_id, reply.body, reply.version)
        form = form_of(scope)
        fields = _typed(form)
        try:
            await self._desk.ask(scope, "updateKey", _body(fields), ids=ids, version=form["version"])
        except Refused as refused:
            return await self._form(request, fields, reply.body.owner_id, reply.body, form["version"], refused)
        await self._desk.reload()
        return to(scope, _PATH, done="saved")

    async def rotate(self, request: Request) -> Response:
        """Give a key another text, and show it."""
        scope, form = request.scope, form_of(request.scope)
        grace = form["grace"]
        body = {"graceSeconds": int(grace) if grace in dict(_GRACES) else grace}
        try:
            made = await self._desk.ask(scope, "rotateKey", body, ids=request.path_params, version=form["version"])
        except Refused as refused:
            return await self._refused(request, refused)
        await self._desk.reload()
        return _shown_once(scope, made.body)

    async def switch(self, request: Request) -> Response:
        """Switch a key on or off."""
        off = form_of(request.scope)["to"] == "off"
        return await self._done(request, "updateKey", "off" if off else "on", {"disabled": off})

    async def delete(self, request: Request) -> Response:
        """Remove a key."""
        return await self._done(request, "deleteKey", "deleted")

    async def _done(self, request: Request, name: str, done: str, body: Mapping[str, Any] | None = None) -> Response:
        version = form_of(request.scope)["version"]
        try:
            await self._desk.ask(request.scope, name, body, ids=request.path_params, version=version)
        except Refused as refused:
            return await self._refused(request, refused)
        await self._desk.reload()
        return to(request.scope, _PATH, done=done)

    async def _refused(self, request: Request, refused: Refused) -> Response:
        if not refused.correctable:
            raise refused
        return await self.listing(request, refused.text, refused.page_status)

    async def _form(
        self,
        request: Request,
        fields: Mapping[str, Any],
        owner: Any,
        key: Any = None,
        version: int | str | None = None,
        refused: Refused | None = None,
    ) -> Response:
        if refused is not None and not refused.correctable:
            raise refused
        me = person(request.scope)
        endpoints = await self._desk.all(request.scope, "listEndpointNames")
        return render(
            request.scope,
            "admin/api_keys/form.html",
            status=200 if refused is None else refused.page_status,
            key=key,
            version=version,
            may=key is None or changeable(request.scope, key),
            # Nobody gets the key of somebody else by rotating it.
            rotatable=key is not None and (key.owner_id == me.id or (key.owner_id is None and me.acting.admin)),
            fields=fields,
            endpoints=[each for each in endpoints if key_opens(owner, each.owner_id)],
            graces=_GRACES,
            errors={} if refused is None else refused.fields,
            fault="" if refused is None else refused.text,
        )


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of these pages."""
    keys = _Keys(desk)
    one, both = f"{_PATH}/{{id:uuid}}", ["GET", "POST"]
    acts = (keys.rotate, keys.switch, keys.delete)
    return [
        Route(_PATH, keys.listing),
        Route(f"{_PATH}/new", keys.create, methods=both),
        Route(one, keys.edit, methods=both),
        *(Route(f"{one}/{act.__name__}", act, methods=["POST"]) for act in acts),
    ]


def _shown_once(scope: Scope, made: KeyMade) -> Response:
    """Return the page with the text of a key; like every page, it is kept nowhere (``render``)."""
    return render(scope, "admin/api_keys/made.html", made=made)


def _filled(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "only": key.endpoint_ids is not None,
        "endpoints": list(key.endpoint_ids or ()),
        "expiresAt": "" if key.expires_at is None else key.expires_at.strftime("%Y-%m-%dT%H:%M"),
        "admin": key.admin,
    }


def _typed(form: Form) -> dict[str, Any]:
    return {
        "name": form["name"].strip(),
        "only": form["only"] == "some",
        "endpoints": form.all("endpoints"),
        "expiresAt": form["expiresAt"].strip(),
        "admin": "admin" in form,
    }


def _body(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": fields["name"],
        "admin": fields["admin"],
        "endpointIds": fields["endpoints"] if fields["only"] else None,
        "expiresAt": _in_utc(fields["expiresAt"]) if fields["expiresAt"] else None,
    }


def _in_utc(text: str) -> str:
    """Return the time of a field, which has no zone, as one in UTC; what is none is left for the API to refuse."""
    try:
        return f"{datetime.fromisoformat(text).replace(tzinfo=None).isoformat()}Z"
    except ValueError:
        return text


def _state(key: Key) -> str:
    if key.disabled:
        return "off"
    return "expired" if key.expires_at is not None and key.expires_at <= now() else "on"
