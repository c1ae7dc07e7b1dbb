"""Sessions of which there may be one over all processes: who owns each, and the way there (eras.md 3.3).

A server with the sharing ``principal`` or ``session`` keeps something in its sessions, so those of one key are at one
process, whichever process a request comes to. Who first needs a session takes the lease of its key, and owns it until
the last session of that key is closed; other processes pass their requests on. An owner that is gone, or says that
it has no such session any more, is followed by whoever asks next, with a new session. Knows nothing of who may share.
"""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

from metamcp_asgi.bus.protocol import UNREACHABLE, Bus, BusUnavailable, CallFailed, Lease, MessageTooLarge, OwnerLost
from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamError, UpstreamUnavailable
from metamcp_asgi.pace import BURST, INTERVAL, Pace
from metamcp_asgi.protocol.jsonrpc import Members
from metamcp_asgi.protocol.outcome import Outcome, away
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.busy import Busy
from metamcp_asgi.upstream.companion import wire
from metamcp_asgi.upstream.companion.calls import Made, Taken
from metamcp_asgi.upstream.outbox import Outbox
from metamcp_asgi.upstream.request import Request, Terms

__all__ = ["LEASE", "Key", "Owned", "Owners"]

LEASE: Final = 15.0
"""Seconds after which others may take the place of a process that stands still; one that is gone is not waited for."""
GONE: Final = 5.0
"""Seconds for which a process that was lost is not asked again: longer than its last sign of life is believed."""
ATTEMPTS: Final = 4
"""How many owners are asked, one after the other, before a request is given up that none of them has begun."""
_KIND: Final = "session"
_ANSWER: Final = "session-answer"
_NOT_HERE: Final = b""
"""The only frame of a process that does not own what it is asked for."""

Key: TypeAlias = tuple[str, str]
"""Whose a session is, and what the requests that may share it have in common."""


class _Errand(Struct, frozen=True, array_like=True):
    """A request for a session of another process; ``tenure`` names what that process must own."""

    tenure: str
    terms: Terms
    number: int
    request: wire.Asked


class _NotHere(Exception):
    """The process that was asked does not own the session."""


class _Tenure(Struct, eq=False):
    """What this process owns: the sessions of one key of one server, until a time on the event loop's clock."""

    owned: "Owned"
    key: Key
    lease: Lease
    until: float


class Owners:
    """What this process owns, and the way to the other owners.

    Args:
        bus: Leads there.
        grace: Seconds that the calls of other processes may take to finish when this one ends.
    """

    def __init__(self, bus: Bus, grace: float) -> None:
        self._bus = bus
        self._grace = grace
        self._tenures: dict[str, _Tenure] = {}
        self._taking = asyncio.Lock()
        self._calls: dict[int, Taken] = {}
        self._working: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._closed_at: float | None = None
        self.lost: dict[str, float] = {}  # until when processes are asked nothing, on the event loop's clock
        self._tasks = Tasks()
        bus.serve(_KIND, self._arrived)
        bus.serve(_ANSWER, self._answered)

    def of(self, config: Server, busy: Busy) -> "Owned | None":
        """Return the way to the sessions of a server, or ``None`` where each process may have its own.

        Args:
            config: The server; processes that know it in another configuration have other sessions with it.
            busy: Counts its calls in flight here.
        """
        return Owned(config, busy, self) if config.sharing in ("principal", "session") else None

    def close(self) -> None:
        """Own nothing new from now on; what runs for other processes has its time to finish."""
        self._closed_at = asyncio.get_running_loop().time()

    async def aclose(self) -> None:
        """Wait for that, and leave everything to whoever asks next."""
        if self._closed_at is None:
            self.close()
        assert self._closed_at is not None
        loop = asyncio.get_running_loop()
        if self._working:
            await asyncio.wait(self._working, timeout=max(self._closed_at + self._grace - loop.time(), 0))
        if self._working:
            for task in self._working:
                task.cancel()
            await asyncio.wait(self._working)
        tenures, self._tenures = list(self._tenures.values()), {}
        await asyncio.gather(*(self._release(tenure.lease) for tenure in tenures))
        await self._tasks.aclose()

    async def owner(self, owned: "Owned", key: Key, gone: str | None) -> str | None:
        """Return the process that owns the sessions of a key; ``None`` for this one, if need be from now on.

        Args:
            owned: Of which server.
            key: The key.
            gone: The process that was found not to own them any more.

        Raises:
            BusUnavailable: Nobody knows.
        """
        name, loop = owned.tenure(key), asyncio.get_running_loop()
        while self._closed_at is None and not self._owns(name, owned):
            holder = await self._bus.holder(name)
            there = holder not in (gone, self._bus.name) and self.lost.get(holder or "", 0.0) < loop.time()
            if holder is not None and there:
                return holder
            async with self._taking:
                if not self._owns(name, owned):
                    # What is ours but not known here was taken for a request that was cancelled meanwhile.
                    await self._take(name, owned, key, holder)
        return None

    def left(self, owned: "Owned", name: str) -> None:
        """Own something no longer."""
        tenure = self._tenures.get(name)
        if tenure is not None and tenure.owned is owned:
            del self._tenures[name]
            self._tasks.start(self._release(tenure.lease), "release the lease of a session")

    def left_all(self, owned: "Owned") -> None:
        """Own nothing of a server any longer."""
        for name in [name for name, tenure in self._tenures.items() if tenure.owned is owned]:
            self.left(owned, name)

    async def send(self, holder: str, name: str, request: Request, terms: Terms) -> Outcome:
        """Have another process answer a request.

        Raises:
            UpstreamError: As that process raised it.
            OwnerLost: It is gone.
            _NotHere: It does not own what ``name`` names.
            BusUnavailable: It cannot be reached.
            CallFailed: It failed.
            MessageTooLarge: The request is too large.
        """

        def answer(answered: wire.Answered) -> None:
            self._tasks.start(self._answer(holder, answered), "answer a question")

        made = Made(request, answer, self._tasks)
        errand = _Errand(name, terms, secrets.randbits(62), wire.asked(request))
        try:
            async with aclosing(self._bus.call(holder, _KIND, msgspec.msgpack.encode(errand))) as frames:
                async for data in frames:
                    if data == _NOT_HERE:
                        raise _NotHere
                    frame = wire.to_worker.decode(data)
                    assert isinstance(frame, wire.Told | wire.Asks | wire.Withdrawn | wire.Done)
                    made.received(frame)
                    if isinstance(frame, wire.Done) and (outcome := wire.outcome_of(frame.end)) is not None:
                        return outcome
        finally:
            made.over()
        raise OwnerLost("the process has ended before it had answered", sent=True)

    def _owns(self, name: str, owned: "Owned | None" = None) -> bool:
        tenure = self._tenures.get(name)
        if tenure is None or owned not in (None, tenure.owned):
            return False
        return tenure.until > asyncio.get_running_loop().time()

    async def _arrived(self, message: bytes) -> AsyncGenerator[bytes, None]:
        """Answer another process's request here; closed early when nobody waits for it any more."""
        errand = msgspec.msgpack.decode(message, type=_Errand)
        outbox = Outbox()
        task = asyncio.ensure_future(self._work(errand, outbox.say))
        task.add_done_callback(lambda _: outbox.end())
        self._working.add(task)
        try:
            while (frame := await outbox.next()) is not None:
                yield frame
            if not task.cancelled() and isinstance(task.exception(), _NotHere):
                yield _NOT_HERE
            elif not task.cancelled():
                task.result()
        finally:
            self._working.discard(task)
            task.cancel()
            await asyncio.wait({task})

    async def _work(self, errand: _Errand, say: Callable[[wire.ToWorker], None]) -> None:
        if not self._owns(errand.tenure):
            async with self._taking:  # the other process may know sooner than this one that it has got the lease
                pass
        if self._closed_at is not None or not self._owns(errand.tenure):
            raise _NotHere
        tenure = self._tenures[errand.tenure]
        call = self._calls[errand.number] = Taken(errand.number, say)
        request = call.request(errand.request)
        pace: Pace[Members] = Pace(call.progress, INTERVAL, BURST)
        if request.on_progress is not None:
            request.on_progress = pace
        tenure.owned.busy.enter()
        try:
            end = wire.finished(await tenure.owned.here(tenure.key, request, errand.terms))
        except UpstreamError as error:
            end = wire.finished(error)
        finally:
            tenure.owned.busy.leave()
            del self._calls[errand.number]
            pace.flush()
        say(wire.Done(errand.number, end))

    async def _answer(self, holder: str, answered: wire.Answered) -> None:
        # Where it cannot be told, its call fails, too.
        with contextlib.suppress(OwnerLost, BusUnavailable, MessageTooLarge):
            await self._bus.tell(holder, _ANSWER, msgspec.msgpack.encode(answered))

    async def _answered(self, message: bytes) -> AsyncIterator[bytes]:
        answered = msgspec.msgpack.decode(message, type=wire.Answered)
        if (call := self._calls.get(answered.call)) is not None:
            call.answered(answered)
        return
        yield b""

    async def _take(self, name: str, owned: "Owned", key: Key, holder: str | None) -> None:
        now = asyncio.get_running_loop().time()
        lease = await self._bus.lease(name, LEASE, seize=holder or False)
        if lease is None:
            return  # somebody else was faster
        if (old := self._tenures.get(name)) is not None and lease.before != self._bus.name:
            old.owned.end(key)
        self._tenures[name] = _Tenure(owned, key, lease, now + LEASE)
        if self._renewing is None:
            self._renewing = self._tasks.start(self._renew_all(), "renew the leases of sessions")

    async def _renew_all(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            await asyncio.gather(*(self._renew(name, tenure) for name, tenure in self._tenures.items()))

    async def _renew(self, name: str, tenure: _Tenure) -> None:
        now = asyncio.get_running_loop().time()
        try:
            kept = await self._bus.renew(tenure.lease, LEASE)
        except BusUnavailable:
            return  # its time may be over meanwhile; then it has to be taken anew
        if kept:
            tenure.until = now + LEASE
        elif self._tenures.get(name) is tenure:
            del self._tenures[name]
            tenure.owned.end(tenure.key)

    async def _release(self, lease: Lease) -> None:
        with contextlib.suppress(BusUnavailable):  # it ends by itself
            await self._bus.release(lease)


class Owned:
    """The sessions of one server, each key's at its owner.

    Args:
        config: The server.
        busy: Counts its calls in flight here.
        owners: What this process owns.
    """

    here: Callable[[Key, Request, Terms], Awaitable[Outcome]]
    """Answers a request through the sessions of this process."""
    end: Callable[[Key], None]
    """Closes those of a key."""

    def __init__(self, config: Server, busy: Busy, owners: Owners) -> None:
        digest = hashlib.blake2b(msgspec.msgpack.encode(config), digest_size=12).hexdigest()
        self._place = f"{config.name} {digest}"
        self.busy = busy
        self._owners = owners

    def serve(self, here: Callable[[Key, Request, Terms], Awaitable[Outcome]], end: Callable[[Key], None]) -> None:
        """Use the sessions of this process, for all processes."""
        self.here, self.end = here, end

    def tenure(self, key: Key) -> str:
        """Return the name of what the owner of a key has."""
        return f"session {self._place} {key[0]} {key[1]}"

    async def send(self, key: Key, request: Request, terms: Terms) -> Outcome | None:
        """Have the owner of a key answer a request; ``None`` when that is this process, which has done nothing yet.

        Raises:
            UpstreamError: The server could not be asked, or its owner could not.
        """
        gone = None
        try:
            for _ in range(ATTEMPTS):
                holder = await self._owners.owner(self, key, gone)
                if holder is None:
                    return None
                try:
                    return await self._owners.send(holder, self.tenure(key), request, terms)
                except OwnerLost as error:
                    self._owners.lost[holder] = asyncio.get_running_loop().time() + GONE
                    if error.sent:
                        reason = "was lost with the process of the gateway that had the session; see what was done"
                        raise UpstreamUnavailable(reason, sent=True) from None
                    gone = holder
                except _NotHere:
                    gone = holder
                except (BusUnavailable, CallFailed) as error:
                    why = UNREACHABLE if isinstance(error, BusUnavailable) else str(error)
                    reason = f"may have been asked or not, as its session is at another process: {why}"
                    raise UpstreamUnavailable(reason, sent=True) from None
                except MessageTooLarge as error:
                    raise UpstreamUnavailable(f"has its session at another process, and {error}") from None
        except BusUnavailable:
            return away(f"The session with the server cannot be found now: {UNREACHABLE}")
        raise UpstreamUnavailable("has a session that moves between the processes of the gateway; try again")

    def left(self, key: Key) -> None:
        """Own a key no longer: its last session is closed."""
        self._owners.left(self, self.tenure(key))

    def left_all(self) -> None:
        """Own no key any longer."""
        self._owners.left_all(self)
