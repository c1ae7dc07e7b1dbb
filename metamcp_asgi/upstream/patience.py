"""How long a server may take for a request: silence counts, progress and open questions do not."""

import time
from typing import Final

from metamcp_asgi.protocol.jsonrpc import Members
from metamcp_asgi.timers import Deadline
from metamcp_asgi.upstream.request import Answer, Ask, OnProgress, Question, Request

__all__ = ["extend"]

MAX_TOTAL: Final = 3600.0
"""Seconds after which a request is given up even if it still reports progress (CN-03)."""


def extend(request: Request, deadline: Deadline) -> None:
    """Have the deadline wait while the client is asked, and begin anew with each sign of life.

    Progress of tools is asked for even where the client does not want it.

    Args:
        request: The request; what it is told and asked passes through here from now on.
        deadline: Its deadline.
    """
    if request.on_event is not None:
        deadline.pause()  # a stream may be silent for as long as it likes
    if request.method == "tools/call":
        request.on_progress = _restarting(request.on_progress, deadline)
    if request.ask is not None:
        request.ask = _pausing(request.ask, deadline)


def _restarting(relay: OnProgress | None, deadline: Deadline) -> OnProgress:
    end = time.monotonic() + MAX_TOTAL

    def progress(members: Members) -> None:
        if time.monotonic() < end:
            deadline.restart()
        if relay is not None:
            relay(members)

    return progress


def _pausing(ask: Ask, deadline: Deadline) -> Ask:
    async def asked(question: Question) -> Answer:
        # How long a client may think about it is not the server's fault; whoever asks it has a limit for that.
        deadline.pause()
        try:
            return await ask(question)
        finally:
            deadline.resume()

    return asked
