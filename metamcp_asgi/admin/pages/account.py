"""One's own account: name, password, browsers that are signed in, and what one granted to clients and at servers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.asking import notice_of
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to
from metamcp_asgi.signin.people import person

__all__ = ["PATHS", "routes"]

_PATH: Final = "/account"
PATHS: Final = (_PATH,)
_NOTICES: Final = {
    "name": N_("Your name was saved."),
    "password": N_("Your password was changed. You are signed out everywhere else."),
    "ended": N_("The browser is signed out."),
    "ended-others": N_("You are signed out everywhere else."),
    "revoked": N_("What you granted was revoked."),
    "forgotten": N_("The authorization was forgotten."),
}


class _Account:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def show(self, request: Request, refused: Refused | None = None) -> Response:
        """Show the account; with what was refused, where something was."""
        scope, me = request.scope, person(request.scope)
        ids = {"id": me.id}
        user = await self._desk.ask(scope, "getUser", ids=ids)
        sessions = (await self._desk.ask(scope, "listSessions", ids=ids)).body.items
        typed = form_of(scope).all("name")
        return render(
            scope,
            "admin/account/account.html",
            status=200 if refused is None else refused.page_status,
            user=user.body,
            version=user.version,
            name=typed[0] if typed else user.body.name,
            sessions=sessions,
            connected=(await self._desk.ask(scope, "listServerGrants")).body.items,
            grants=await self._desk.all(scope, "listConsents", {"user": me.id}),
            errors={} if refused is None else refused.fields,
            fault="" if refused is None else refused.text,
            notice="" if refused is not None else notice_of(request, _NOTICES),
        )

    async def name(self, request: Request) -> None:
        form = form_of(request.scope)
        await self._ask(request, "updateUser", {"name": form["name"]}, version=form["version"])

    async def password(self, request: Request) -> None:
        form, stays = form_of(request.scope), str(person(request.scope).session)
        body = {"password": form["password"], "current": form["current"], "session": stays}
        await self._ask(request, "setPassword", body)

    async def end(self, request: Request) -> None:
        await self._ask(request, "endSession", ids={"session": request.path_params["session"]})

    async def end_others(self, request: Request) -> None:
        await self._ask(request, "endSessions", query={"but": person(request.scope).session})

    async def revoke(self, request: Request) -> None:
        ids = {"id": request.path_params["grant"]}
        await self._desk.ask(request.scope, "deleteConsent", ids=ids, version=form_of(request.scope)["version"])
        await self._desk.reload()

    async def forget(self, request: Request) -> None:
        ids = {"id": request.path_params["server"]}
        await self._desk.ask(request.scope, "forgetServerGrant", ids=ids, query={"for": "me"})
        await self._desk.reload()

    async def _ask(
        self, request: Request, name: str, body: Mapping[str, Any] | None = None, ids: Any = None, **how: Any
    ) -> None:
        """Carry out an operation of the user who is signed in."""
        whose = {"id": person(request.scope).id, **(ids or {})}
        await self._desk.ask(request.scope, name, body, ids=whose, **how)

    def acting(self, act: Callable[[Request], Awaitable[None]], done: str) -> Callable[[Request], Awaitable[Response]]:
        """Return the page that does something, and then leads to the account."""

        async def page(request: Request) -> Response:
            try:
                await act(request)
            except Refused as refused:
                if not refused.correctable:
                    raise
                return await self.show(request, refused)
            return to(request.scope, _PATH, done=done)

        return page


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of this page."""
    account = _Account(desk)
    acts = (
        ("/name", account.name, "name"),
        ("/password", account.password, "password"),
        ("/sessions/{session:uuid}/end", account.end, "ended"),
        ("/sessions/end", account.end_others, "ended-others"),
        ("/grants/{grant:uuid}/revoke", account.revoke, "revoked"),
        ("/servers/{server:uuid}/forget", account.forget, "forgotten"),
    )
    posted = [Route(_PATH + path, account.acting(act, done), methods=["POST"]) for path, act, done in acts]
    return [Route(_PATH, account.show), *posted]
