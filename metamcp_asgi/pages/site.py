"""What stands around every application that shows pages: readable from the outermost layer to the innermost."""

import logging
from collections.abc import Callable, Collection
from typing import Final

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metamcp_asgi.asgi.auth import Access
from metamcp_asgi.asgi.origin import OriginGuard
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.pages.fault import Fault, fault_of
from metamcp_asgi.pages.forms import Forms, SameOrigin
from metamcp_asgi.pages.i18n import MISSING, N_
from metamcp_asgi.pages.place import Place
from metamcp_asgi.pages.render import render
from metamcp_asgi.pages.visit import visiting

__all__ = ["Faults", "Visits", "site"]

logger = logging.getLogger("metamcp.pages")

_GUARDED: Final = Access(name="pages")


def site(
    app: ASGIApp,
    place: Place,
    *,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
    max_body_bytes: int = 1024 * 1024,
) -> ASGIApp:
    """Return an application whose pages are protected, and whose errors are pages.

    Args:
        app: The application inside, which answers with ``render``.
        place: Where the gateway is.
        hosts: ``Host`` values to answer, as for ``OriginGuard``.
        origins: ``Origin`` values to answer besides our own; forms of theirs are refused all the same.
        max_body_bytes: Size of a form, in bytes.
    """
    app = Forms(app, max_body_bytes)
    app = SameOrigin(app, place)
    app = Faults(app)
    app = OriginGuard(app, hosts=hosts, origins=origins)
    return Visits(app, place)


class Visits:
    """Put the ``Visit`` into the scope.

    Args:
        app: The application inside.
        place: Where the gateway is.
    """

    def __init__(self, app: ASGIApp, place: Place) -> None:
        self.app = app
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        # A cookie belongs to the name of a host, so under another name nobody is signed in.
        await self.app({**visiting(scope, self._place), "metamcp.endpoint": _GUARDED}, receive, send)


class Faults:
    """Turn the errors of an application into answers.

    Args:
        app: The application inside.
        shown: Makes the answer; a page, when left out.
    """

    def __init__(self, app: ASGIApp, shown: Callable[[Scope, Fault], Response] | None = None) -> None:
        self.app = app
        self._shown = shown or _page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except MetaMCPError as error:
            if begun:
                raise
            fault = fault_of(error)
            if fault.status >= 500:
                logger.error("%s %s: %s", scope["method"], scope["path"], error)
            await self._shown(scope, fault)(scope, receive, send)
        except Exception:
            if begun:
                raise
            # A defect of ours, of which nothing goes to the browser.
            logger.exception("%s %s failed", scope["method"], scope["path"])
            fault = Fault(500, N_("Something went wrong here. The gateway's log has more."))
            await self._shown(scope, fault)(scope, receive, send)


def _page(scope: Scope, fault: Fault) -> Response:
    try:
        page = render(scope, "pages/fault.html", status=fault.status, text=fault.text)
    except MetaMCPError as error:  # there is nothing to make pages with
        page = PlainTextResponse(f"{error}\n", 501 if str(error) == MISSING else 500)
    page.headers.update(fault.headers)
    return page
