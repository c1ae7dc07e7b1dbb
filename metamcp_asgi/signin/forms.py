"""The pages on which people sign in, register and sign out."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.forms import Form, form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import redirect, render, to
from metamcp_asgi.pages.visit import visit_of
from metamcp_asgi.signin.entrance import Entrance, Refused
from metamcp_asgi.signin.people import LOGIN, person_or_none
from metamcp_asgi.store.services.inputs import Invalid

__all__ = ["SignInPages"]


class SignInPages:
    """What ``/login``, ``/register`` and ``/sign-out`` answer.

    Args:
        entrance: Lets people in.
        oidc: Whether there is an OpenID provider.
    """

    def __init__(self, entrance: Entrance, *, oidc: bool) -> None:
        self._entrance = entrance
        self._oidc = oidc

    async def login(self, request: Request) -> Response:
        """Show the form, or let somebody in and lead them where they wanted to go."""
        scope, visit = request.scope, visit_of(request.scope)
        if request.method == "POST":
            form = form_of(scope)
            try:
                user = await self._entrance.by_password(scope, form["email"], form["password"])
            except Refused as error:
                return await self._login(request, form, error)
            cookie = await self._entrance.sessions.begin(scope, user, "password")
            return redirect(scope, visit.local(form["callbackUrl"]), headers=[cookie])
        if person_or_none(scope) is not None:
            return redirect(scope, visit.local(request.query_params.get("callbackUrl")))
        return await self._login(request, Form(request.query_params.multi_items()))

    async def register(self, request: Request) -> Response:
        """Show the form, or make an account and let its user in."""
        scope, visit = request.scope, visit_of(request.scope)
        if request.method == "POST":
            form = form_of(scope)
            try:
                user = await self._entrance.register(scope, form["email"], form["password"], form["name"])
            except Refused as error:
                return await self._register(request, form, error.text, error.status, error.wait)
            except Invalid as error:
                return await self._register(request, form, f"{error.field}: {error.reason}", 422)
            cookie = await self._entrance.sessions.begin(scope, user, "password")
            return redirect(scope, visit.local(form["callbackUrl"]), headers=[cookie])
        return await self._register(request, Form(request.query_params.multi_items()))

    async def sign_out(self, request: Request) -> Response:
        """End the session.

        Raises:
            Fault: It was not posted (405).
        """
        if request.method != "POST":
            raise Fault(405, N_("This address takes forms only."), {"allow": "POST"})
        return to(request.scope, LOGIN, headers=[await self._entrance.sessions.end(request.scope)])

    async def _login(self, request: Request, form: Form, refused: Refused | None = None) -> Response:
        scope, ways = request.scope, await self._entrance.ways()
        page = render(
            scope,
            "signin/login.html",
            status=refused.status if refused else 200,
            fault=refused.text if refused else FAULTS.get(form["error"]),
            safe=visit_of(scope).place.safe(scope),
            passwords=ways.passwords,
            signup=ways.signup,
            oidc=self._oidc,
            nobody=ways.nobody,
            email=form["email"],
            callback=visit_of(scope).local(form["callbackUrl"]),
        )
        return _with_wait(page, refused.wait if refused else 0)

    async def _register(
        self, request: Request, form: Form, fault: str | None = None, status: int = 200, wait: int = 0
    ) -> Response:
        scope, ways = request.scope, await self._entrance.ways()
        page = render(
            scope,
            "signin/register.html",
            status=status,
            fault=fault,
            open=ways.signup and ways.passwords and visit_of(scope).place.safe(scope),
            email=form["email"],
            name=form["name"],
            callback=visit_of(scope).local(form["callbackUrl"]),
        )
        return _with_wait(page, wait)


FAULTS: Final = {
    "oidc": N_("The OpenID provider could not be used. Try again, or ask the operator; the gateway's log has more."),
    "denied": N_("The OpenID provider did not let you in."),
    "closed": N_("Nobody with this account is known here, and registration is closed. Ask an admin for an account."),
    "unverified": N_(
        "There is an account with this email address, but the OpenID provider has not verified that it is yours."
    ),
    "disabled": N_("This account is disabled."),
    "no-email": N_("The OpenID provider told no email address; OIDC_SCOPES needs email."),
    "password-first": N_(
        "There is an account with this email address and a password. Sign in with that first, and then with OIDC."
    ),
    "expired": N_("This took too long, or was begun in another browser. Try again."),
}
"""What the sign-in page says when somebody comes back to it, by the ``error`` in its query."""


def _with_wait(page: Response, seconds: int) -> Response:
    if seconds:
        page.headers["retry-after"] = str(seconds)
    return page
