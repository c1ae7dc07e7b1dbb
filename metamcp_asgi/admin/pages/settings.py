"""The settings of the whole gateway, for admins."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.pages.asking import notice_of
from metamcp_asgi.admin.pages.desk import Desk, Refused
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import render, to

__all__ = ["PATHS", "SETTINGS", "routes"]

PATHS: Final = ("/settings",)
SETTINGS: Final = {
    "allowSignup": (
        N_("People may register with a form"),
        N_("Anybody who reaches this gateway can make an account."),
    ),
    "allowSsoSignup": (
        N_("People may register by single sign-on"),
        N_("Whoever the OpenID provider knows gets an account at their first sign-in."),
    ),
    "allowPasswordSignIn": (
        N_("People may sign in with a password"),
        N_("When off, only single sign-on is left. Make sure that it works for you first."),
    ),
    "membersMayCreateStdio": (
        N_("Members may add stdio servers"),
        N_("A stdio server is a program that runs on the gateway's machine."),
    ),
    "membersMayCreatePublic": (
        N_("Members may make things public"),
        N_("What is public can be used by everybody who has an account."),
    ),
}
_NOTICES: Final = {"saved": N_("The settings were saved.")}


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def settings(request: Request) -> Response:
        scope = request.scope
        fault = ""
        read = await desk.ask(scope, "getSettings")
        known = read.body
        if request.method == "POST":
            form = form_of(scope)
            wanted = {name: name in form for name in known}
            changes = {name: value for name, value in wanted.items() if value != known[name]}
            known = wanted
            try:
                await desk.ask(scope, "updateSettings", changes, version=form["version"])
            except Refused as refused:
                if not refused.correctable:
                    raise
                fault = refused.text
            else:
                return to(scope, "/settings", done="saved")
        return render(
            scope,
            "admin/settings/settings.html",
            status=422 if fault else 200,
            settings=[(name, known[name], *SETTINGS[name]) for name in SETTINGS],
            version=read.version,
            fault=fault,
            notice=notice_of(request, _NOTICES),
        )

    return [Route("/settings", settings, methods=["GET", "POST"])]
