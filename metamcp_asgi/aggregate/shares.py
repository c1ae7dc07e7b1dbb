"""Who holds how much of something of which this process has only so much: streams, parked calls, subscriptions.

A principal has a share on each endpoint. The strangers of an open endpoint have one together, and of that each address
has a part, so that one of them cannot take it from all others. Knows nothing of what is held.
"""

from collections import Counter

from msgspec import Struct

from metamcp_asgi.config.snapshot import Principal

__all__ = ["Most", "Shares"]


class Most(Struct, frozen=True):
    """The bounds: of all together, of one principal, of an endpoint's strangers, and of one address among these."""

    altogether: int
    principal: int
    strangers: int
    address: int


class Shares:
    """What is held at the moment."""

    __slots__ = ("_addresses", "_held")

    def __init__(self) -> None:
        self._held: Counter[tuple[str, str]] = Counter()
        self._addresses: Counter[tuple[str, str]] = Counter()

    def full(self, endpoint: str, principal: Principal, most: Most) -> bool:
        """Tell whether somebody may hold no more.

        Args:
            endpoint: Where.
            principal: Who.
            most: How much may be held.
        """
        held = self._held[endpoint, principal.id]
        if self._held.total() >= most.altogether:
            return True
        if principal.kind != "anonymous":
            return held >= most.principal
        # Where addresses are not known, as over a Unix socket, all strangers count as one.
        return held >= most.strangers or (
            bool(principal.address) and self._addresses[endpoint, principal.address] >= most.address
        )

    def take(self, endpoint: str, principal: Principal) -> None:
        """Count one more."""
        self._held[endpoint, principal.id] += 1
        if principal.address:
            self._addresses[endpoint, principal.address] += 1

    def give_back(self, endpoint: str, principal: Principal) -> None:
        """Count one less, of the same endpoint and principal."""
        _less(self._held, (endpoint, principal.id))
        if principal.address:
            _less(self._addresses, (endpoint, principal.address))


def _less(counter: Counter[tuple[str, str]], key: tuple[str, str]) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
