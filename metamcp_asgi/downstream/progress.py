"""Progress of a call, relayed to the client under the client's own token (eras.md 2.7)."""

import msgspec
from msgspec import Raw

from metamcp_asgi.downstream.reply import Outlet
from metamcp_asgi.protocol.jsonrpc import Members, encode, notification

__all__ = ["ProgressRelay"]


class ProgressRelay:
    """Called with the members of each progress notification of one call.

    Args:
        token: The client's progress token, as JSON.
        outlet: Where the client reads.
        wordless: Whether the client's revision is the one that has no ``message`` in progress.
    """

    __slots__ = ("_last", "_outlet", "_token", "_wordless")

    def __init__(self, token: Raw, outlet: Outlet, *, wordless: bool = False) -> None:
        self._token = token
        self._outlet = outlet
        self._wordless = wordless
        self._last = float("-inf")

    def __call__(self, members: Members) -> None:
        """Relay one notification; the value must increase (PG-01), so what does not is dropped."""
        try:
            value = msgspec.json.decode(members.get("progress", Raw(b"null")), type=float)
        except msgspec.DecodeError:
            return
        if value > self._last:
            self._last = value
            if self._wordless:
                members = {name: member for name, member in members.items() if name != "message"}
            params = encode({"progressToken": self._token, **members})
            self._outlet.notify(notification("notifications/progress", params))
