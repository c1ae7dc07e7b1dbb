"""Which requests get a session that is not shared by everybody, and who shares that one (eras.md 2.2)."""

from typing import Final

from msgspec import Struct

from metamcp_asgi.config.snapshot import Sharing
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.upstream.request import Request, Session

__all__ = ["STRANGERS", "Affinity", "Apart", "apart", "key_of", "owner_of", "personal"]


STRANGERS: Final = "anonymous"
"""The owner of the sessions of all who are nobody in particular."""


class Affinity(Struct, frozen=True):
    """On whose behalf a request is made.

    A principal, ``None`` for strangers; its client session, if it has one; the user whose principal it is, if it is
    anybody's. ``task`` names the task of 2025-11-25 that it is about: servers know a task only in the session that
    began it.
    """

    principal: str | None = None
    session: str | None = None
    task: str | None = None
    user: str | None = None


class Apart(Struct, frozen=True):
    """The session that a request needs for itself or for those of its caller.

    ``capabilities`` are what it declares. An ``exclusive`` one has no other request in flight meanwhile.
    """

    capabilities: Capabilities
    exclusive: bool


def apart(sharing: Sharing, request: Request, main: Session) -> Apart | None:
    """Return what session a request needs, or ``None`` when the one that everybody shares will do.

    Args:
        sharing: As configured.
        request: The request.
        main: The session that everybody shares.
    """
    modern = main.peer.era == "modern"
    # A modern server over HTTP knows no sessions, and the process of one is told with each request what it may ask.
    if sharing == "shared" or (modern and (main.correlates or sharing == "auto")):
        return None
    asks = not modern and request.ask is not None and request.capabilities.interactive
    if sharing == "auto":
        logs = request.on_log is not None and request.log_level is not None and "logging" in main.peer.capabilities
        if not asks and (main.correlates or not logs):
            return None
    return Apart(request.capabilities if asks else NOTHING, exclusive=sharing == "auto" and not main.correlates)


def personal(sharing: Sharing, request: Request, main: Session) -> Apart:
    """Return what session a request needs at a server that knows each user by a grant of their own.

    Args:
        sharing: As configured; no session is shared by several users, whatever it says.
        request: The request.
        main: The session through which lists are read.
    """
    needed = apart(sharing, request, main)
    return needed if needed is not None else Apart(NOTHING, exclusive=False)


def key_of(sharing: Sharing, affinity: Affinity, *, exclusive: bool = False) -> str | None:
    """Return the key under which a session that is not shared by everybody is kept.

    Strangers never share: without a client session of their own, they get a session for each request, or for each task.
    With ``auto``, only what may ask the client gets here, and each client session has its own.

    Args:
        sharing: As configured.
        affinity: On whose behalf.
        exclusive: Whether the session may have no other request in flight: then a task has one for itself, as all of
            its requests are one call.
    """
    if affinity.task is not None and exclusive:
        return f"task {affinity.task}"
    if sharing in ("session", "auto") and affinity.session is not None:
        return f"session {affinity.session}"
    if sharing in ("session", "principal", "auto") and affinity.principal is not None:
        return f"principal {affinity.principal}"
    if sharing == "principal" and affinity.session is not None:
        return f"session {affinity.session}"
    return None if affinity.task is None or sharing == "call" else f"task {affinity.task}"


def owner_of(affinity: Affinity) -> str:
    """Return who owns the sessions that are opened on somebody's behalf: a principal, or all strangers together."""
    return STRANGERS if affinity.principal is None else f"principal {affinity.principal}"
