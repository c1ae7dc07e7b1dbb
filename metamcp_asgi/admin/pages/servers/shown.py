"""What several pages of servers show alike: the names of transports, whose a server is, what was done."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.types import Scope

from metamcp_asgi.admin.api.running import ServerHealth
from metamcp_asgi.admin.api.shapes import Server
from metamcp_asgi.admin.pages.asking import notice_of
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.pages.i18n import N_, translations
from metamcp_asgi.pages.visit import visit_of
from metamcp_asgi.signin.people import person

__all__ = [
    "ERAS",
    "PATH",
    "SHARINGS",
    "TYPES",
    "notice",
    "owners",
    "translated",
    "unsettled",
]

PATH: Final = "/mcp-servers"
TYPES: Final = {"stdio": "stdio", "streamable_http": "Streamable HTTP", "sse": "HTTP+SSE"}
"""The transports, by the names that the specification has for them."""
ERAS: Final = (
    ("auto", N_("Found out when connecting")),
    ("modern", N_("Modern: 2026-07-28 and later")),
    ("legacy", N_("Legacy: up to 2025-11-25")),
)
SHARINGS: Final = (
    ("auto", N_("Automatic")),
    ("shared", N_("Everybody shares one session")),
    ("principal", N_("Each key or person has a session")),
    ("session", N_("Each client session has a session")),
    ("call", N_("Each call has a session")),
)
_NOTICES: Final = {
    "created": N_("The server was added."),
    "saved": N_("The server was saved."),
    "deleted": N_("The server was deleted."),
    "imported": N_("The servers were imported."),
    "enabled": N_("The server was switched on."),
    "disabled": N_("The server was switched off."),
    "reset": N_("The server was reset and connects anew."),
    "refreshed": N_("What the server offers was read again."),
    "forgotten": N_("The authorization was forgotten."),
}
_MOST_USERS: Final = 200


def notice(request: Request) -> str:
    """Return what a page says was done."""
    return notice_of(request, _NOTICES)


def translated(scope: Scope, choices: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the values and texts of a choice in the visitor's language."""
    texts = translations(visit_of(scope).language)
    return [(value, texts.gettext(text)) for value, text in choices]


def unsettled(health: ServerHealth) -> bool:
    """Tell whether it will be known in a moment how a server does, or what it offers."""
    return health.state == "starting" or (health.state == "ready" and health.tools is None and not health.error)


async def owners(desk: Desk, scope: Scope, servers: list[Server]) -> Mapping[uuid.UUID, str]:
    """Return the email addresses of the owners of servers, as far as who is signed in may know them."""
    me = person(scope).acting.id
    return {} if all(server.owner_id in (None, me) for server in servers) else await emails(desk, scope)


async def emails(desk: Desk, scope: Scope) -> Mapping[uuid.UUID, str]:
    """Return the email addresses of users, for admins; members know nobody's."""
    if not person(scope).acting.admin:
        return {}
    users = (await desk.ask(scope, "listUsers", query={"limit": _MOST_USERS})).body
    return {user.id: user.email for user in users.items}
