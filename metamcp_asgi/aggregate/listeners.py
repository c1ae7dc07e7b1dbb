"""Who wants to hear of changes of lists: everybody is told of those that are a change for them (eras.md 2.10).

What a list gives depends on the middlewares of its namespace, and with some of them on who asks. So it is computed
for each principal that listens, when it begins to and after every change, and compared with what it was before. Knows
nothing of streams, nor of who may listen.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, TypeAlias

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.catalogue import LISTS_OF
from metamcp_asgi.aggregate.namespace import Running
from metamcp_asgi.aggregate.published import Item
from metamcp_asgi.config.snapshot import ANONYMOUS, Principal
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.protocol.revisions import LISTS
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.request import Change

__all__ = ["Listener", "Listeners"]

logger = logging.getLogger("metamcp")

DEBOUNCE: Final = 0.1
"""Seconds that changes are gathered before clients are told: servers tend to restart together."""
AT_ONCE: Final = 8
"""For how many principals of one endpoint lists are computed at a time, where middlewares wait for something."""

Listener: TypeAlias = Callable[[list[Change]], None]
"""Is told which kinds of list have changed."""
_List: TypeAlias = Sequence[Item] | None
"""What a list request is given; ``None`` for an error, which is something else than any list."""
_NOTHING: Final[Mapping[str, Sequence[Item]]] = dict.fromkeys(LISTS, ())


class Listeners:
    """The listeners of all endpoints.

    Args:
        running: Returns the namespace behind an endpoint, if that exists.
        deadline: Seconds that the middlewares of a namespace may take for one list.
    """

    def __init__(self, running: Callable[[str], Running | None], deadline: float) -> None:
        self._running = running
        self._deadline = deadline
        self._audiences: dict[str, _Audience] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = Tasks()

    def __iter__(self) -> Iterator[str]:
        """The endpoints on which somebody listens."""
        return iter(self._audiences)

    def add(self, endpoint: str, principal: Principal, listener: Listener) -> Callable[[], None]:
        """Have ``listener`` told of what changes for a principal on an endpoint; return what ends that."""
        audience = self._audiences.get(endpoint)
        if audience is None:
            audience = self._audiences[endpoint] = _Audience(endpoint, partial(self._running, endpoint), self._deadline)
        if audience.enter(principal, listener):
            # Not when the first change comes: by then, middlewares may judge otherwise than for what was given before.
            self._attend(audience)
        return partial(self._remove, audience, principal, listener)

    def changed(self) -> None:
        """See soon for whom something has changed."""
        if self._audiences and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DEBOUNCE, self._look)

    async def aclose(self) -> None:
        """Tell nobody anything any more."""
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.aclose()

    def _remove(self, audience: "_Audience", principal: Principal, listener: Listener) -> None:
        audience.leave(principal, listener)
        if not audience.seats and self._audiences.get(audience.endpoint) is audience:
            del self._audiences[audience.endpoint]

    def _look(self) -> None:
        self._timer = None
        for audience in self._audiences.values():
            self._attend(audience)

    def _attend(self, audience: "_Audience") -> None:
        audience.due = True
        if not audience.attended:
            audience.attended = True
            self._tasks.start(audience.attend(), f"tell of changes on {audience.endpoint}")


class _Audience:
    """Those who listen on one endpoint.

    Args:
        endpoint: Its name.
        running: Returns the namespace behind it, if that exists.
        deadline: As for ``Listeners``.
    """

    __slots__ = ("_deadline", "_running", "_sight", "attended", "due", "endpoint", "seats")

    def __init__(self, endpoint: str, running: Callable[[], Running | None], deadline: float) -> None:
        self.endpoint = endpoint
        self.seats: dict[Principal, _Seat] = {}
        self.due = False
        """Whether there is something to compute or to compare."""
        self.attended = False
        """Whether that is being done."""
        self._running = running
        self._deadline = deadline
        self._sight = _Sight(running())

    def enter(self, principal: Principal, listener: Listener) -> bool:
        """Take in a listener; tell whether it is its principal's first."""
        seat = self.seats.get(principal)
        if first := seat is None:
            seat = self.seats[principal] = _Seat(self._seen())
        seat.listeners.add(listener)
        return first

    def leave(self, principal: Principal, listener: Listener) -> None:
        """Let a listener go."""
        if (seat := self.seats.get(principal)) is not None:
            seat.listeners.discard(listener)
            if not seat.listeners:
                del self.seats[principal]

    async def attend(self) -> None:
        """Tell everybody what has changed for them; after most changes that is nothing."""
        try:
            while self.due:
                self.due = False
                await self._round()
        finally:
            self.attended = False

    async def _round(self) -> None:
        now, comparison = self._seen(), _Comparison()
        for sight in {now, *(seat.sight for seat in self.seats.values())}:
            for method in sight.alike - sight.given.keys():
                sight.given[method] = await self._given(sight, method, ANONYMOUS)
        waiting = iter(list(self.seats.items()))

        async def work() -> None:
            for principal, seat in waiting:
                if seat.listeners:
                    await self._tell(principal, seat, now, comparison)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(self.seats))):
                group.create_task(work())

    async def _tell(self, principal: Principal, seat: "_Seat", now: "_Sight", comparison: "_Comparison") -> None:
        was = seat.sight
        for method in was.apart - seat.given.keys():
            seat.given[method] = await self._given(was, method, principal)
        if now is was:
            return
        given: dict[str, _List] = {}
        for method in now.apart:
            again = now.running is was.running and method in was.apart
            if again and not comparison.differ(was.items[method], now.items[method]):
                given[method] = seat.given[method]
            else:
                given[method] = await self._given(now, method, principal)
        old, new = {**was.given, **seat.given}, {**now.given, **given}
        seat.sight, seat.given = now, given
        kinds = [kind for kind, methods in LISTS_OF.items() if any(comparison.differ(old[m], new[m]) for m in methods)]
        if kinds:
            for listener in tuple(seat.listeners):
                listener(kinds)

    async def _given(self, sight: "_Sight", method: str, principal: Principal) -> _List:
        """Return what a list request is given; others have their turn before the next one."""
        running = sight.running
        if running is None:
            return ()
        try:
            async with asyncio.timeout(self._deadline):
                items = await running.given(sight.items[method], Call(self.endpoint, principal, method, {}))
        except TimeoutError:
            text = "Namespace %s: its middlewares took more than %g seconds for %s"
            logger.warning(text, running.config.name, self._deadline, method)
            return None
        except MetaMCPError:  # the chain has logged what is a defect
            return None
        await asyncio.sleep(0)
        return items

    def _seen(self) -> "_Sight":
        running = self._running()
        if not self._sight.shows(running):
            self._sight = _Sight(running)
        return self._sight


class _Sight:
    """What an endpoint publishes at one moment, before its middlewares, and after those that know nobody.

    Args:
        running: The namespace behind it, if that exists.
    """

    __slots__ = ("alike", "apart", "given", "items", "running")

    def __init__(self, running: Running | None) -> None:
        chain = None if running is None else running.chain
        self.running = running
        self.items: Mapping[str, Sequence[Item]] = _NOTHING if running is None else running.view.items
        self.apart: frozenset[str] = frozenset() if chain is None else chain.per_principal
        """The lists that differ from principal to principal."""
        self.alike: frozenset[str] = frozenset() if chain is None else chain.lists - chain.per_principal
        """Those of the others that pass through middlewares."""
        untouched = LISTS.keys() - self.apart - self.alike
        self.given: dict[str, _List] = {method: self.items[method] for method in untouched}
        """What everybody is given, as far as it is computed."""

    def shows(self, running: Running | None) -> bool:
        """Tell whether this is what is published now."""
        return self.running is running and (running is None or running.view.items is self.items)


class _Seat:
    """The listeners of one principal, and what it was given last.

    Args:
        sight: Of what it was given that.
    """

    __slots__ = ("given", "listeners", "sight")

    def __init__(self, sight: _Sight) -> None:
        self.listeners: set[Listener] = set()
        self.sight = sight
        self.given: dict[str, _List] = {}
        """Its own lists, as far as they are computed."""


class _Comparison:
    """Compares lists, and those that many are given only once."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # With the lists themselves, so that none of these identities is given to another list meanwhile.
        self._known: dict[tuple[int, int], tuple[_List, _List, bool]] = {}

    def differ(self, one: _List, other: _List) -> bool:
        """Tell whether a client would see a difference; the places of items among those of others are none."""
        if one is other:
            return False
        key = id(one), id(other)
        if key not in self._known:
            self._known[key] = one, other, one is None or other is None or _lines(one) != _lines(other)
        return self._known[key][2]


def _lines(items: Sequence[Item]) -> list[tuple[bytes, bytes]]:
    return [(item.modern, item.legacy) for item in items]
