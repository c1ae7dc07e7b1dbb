"""Progress of a call, relayed to the client under the client's own token (eras.md 2.7)."""

import asyncio
from contextlib import AbstractContextManager
from types import TracebackType

import msgspec
from msgspec import Raw

from metamcp_asgi.downstream.reply import Outlet
from metamcp_asgi.pace import BURST, INTERVAL, Pace
from metamcp_asgi.protocol.jsonrpc import Members, encode, notification

__all__ = ["ProgressRelay"]


class ProgressRelay(AbstractContextManager[None]):
    """Called with the members of each progress notification of one call.

    A context manager for as long as the call lasts: at its end the last notification that had to wait is relayed,
    before the result, and none is after it.

    Args:
        token: The client's progress token, as JSON.
        outlet: Where the client reads.
        wordless: Whether the client's revision is the one that has no ``message`` in progress.
    """

    __slots__ = ("_last", "_outlet", "_pace", "_token", "_wordless")

    def __init__(self, token: Raw, outlet: Outlet, *, wordless: bool = False) -> None:
        self._token = token
        self._outlet = outlet
        self._wordless = wordless
        self._last = float("-inf")
        self._pace = Pace(self._relay, INTERVAL, BURST)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self._pace.close()  # nobody wants to know any more
        else:
            self._pace.flush()

    def __call__(self, members: Members) -> None:
        """Relay one notification; the value must increase (PG-01), so what does not is dropped."""
        try:
            value = msgspec.json.decode(members.get("progress", Raw(b"null")), type=float)
        except msgspec.DecodeError:
            return
        if value > self._last:
            self._last = value
            self._pace(members)

    def _relay(self, members: Members) -> None:
        if self._wordless:
            members = {name: member for name, member in members.items() if name != "message"}
        params = encode({"progressToken": self._token, **members})
        self._outlet.notify(notification("notifications/progress", params))
