"""``requestState``: what a modern client carries from one round of a call to the next, sealed (eras.md 2.6, 3.2).

It is bound to who called what, where, with which arguments, for a time (MR-04). Every way in which it can be wrong gets
the same answer; the reason is for the log.
"""

import hashlib
import logging
import time
from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from msgspec import Struct

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, encode
from metamcp_asgi.protocol.sealed import Sealer

__all__ = ["NOT_VALID", "State", "States", "digest", "invalid"]

logger = logging.getLogger("metamcp.interaction")

NOT_VALID: Final = "requestState is not valid for this request"

Kind = Literal["parked", "wrapped", "url"]


class State(Struct, frozen=True, array_like=True):
    """What a sealed state says.

    ``kind`` tells how the call goes on: a ``parked`` one at its ``owner`` under ``pid``; a ``wrapped`` one by repeating
    it to the modern server with that server's own state, ``inner``; one that waited for a ``url`` by repeating it as
    it was. ``round`` counts the rounds of the call; ``server`` is who asked. ``places`` are those of the pages that
    the user was sent to (``Page.place``), and ``pages`` what to wait for (``Pages.expect``).
    """

    kind: Kind
    endpoint: str
    principal: str
    method: str
    target: str
    arguments: bytes
    expires: float
    round: int
    server: str
    inner: str | None = None
    owner: str = ""
    pid: bytes = b""
    places: tuple[bytes, ...] = ()
    pages: tuple[bytes, ...] = ()


class States:
    """Makes and reads states.

    Args:
        sealer: What seals them.
        seconds: How long one is good for.
    """

    def __init__(self, sealer: Sealer[State], seconds: float) -> None:
        self._sealer = sealer
        self.seconds = seconds

    def seal(
        self,
        call: Call,
        kind: Kind,
        round_: int,
        server: str,
        *,
        inner: str | None = None,
        owner: str = "",
        pid: bytes = b"",
        places: Iterable[bytes] = (),
        pages: Iterable[bytes] = (),
    ) -> str:
        """Return the state for the next round of a call."""
        return self._sealer.seal(
            State(
                kind,
                call.endpoint,
                call.principal.id,
                call.method,
                call.target,
                digest(call),
                time.time() + self.seconds,
                round_,
                server,
                inner,
                owner,
                pid,
                tuple(places),
                tuple(pages),
            )
        )

    def open(self, call: Call) -> State:
        """Return the state that a repeated call brings along.

        Raises:
            ProtocolError: It is not the one that was given out for this very call.
        """
        assert call.inputs is not None
        token = call.inputs.state
        state = self._sealer.open(token) if token is not None else None
        if state is None:
            raise invalid(call, "it is missing, was changed, or is not ours")
        if (state.endpoint, state.principal) != (call.endpoint, call.principal.id):
            raise invalid(call, "it was given to somebody else")
        if (state.method, state.target) != (call.method, call.target):
            raise invalid(call, f"it was given out for {state.method} {state.target}")
        if state.arguments != digest(call):
            raise invalid(call, "the arguments are not those of the first round")
        if state.expires < time.time():
            raise invalid(call, "its time is over")
        return state


def invalid(call: Call, reason: str) -> ProtocolError:
    """Return the error for a state that cannot be used; the client is not told why."""
    logger.info("%s %s of %s: requestState refused: %s", call.method, call.target, call.principal.id, reason)
    return ProtocolError(INVALID_PARAMS, NOT_VALID)


def digest(call: Call) -> bytes:
    """Return the digest of everything that a call says but ``_meta``, however it is spelled.

    It is that of what the client sent, so it has to be taken before a middleware changes the params.
    """
    if not call.digest:
        params = msgspec.json.decode(encode(call.params))
        call.digest = hashlib.sha256(msgspec.json.encode(params, order="deterministic")).digest()
    return call.digest
