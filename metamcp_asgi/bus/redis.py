"""The bus of a gateway of many processes, on one machine or many, through Redis 7.

Each process has an *inbox*, a stream in which it gets calls, tells and the answers to its own calls, and a key that
says that it is alive, which it renews only while it reads its inbox. Keys that one script touches have the same hash
tag, so that any of a cluster's nodes may hold them.

Knows what is where in Redis. What the messages mean is in ``wire.py``, ``redis_asked.py`` and ``redis_work.py``.
"""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Final

import msgspec

from metamcp_asgi.bus import wire
from metamcp_asgi.bus.handlers import Handlers, check_size, refused
from metamcp_asgi.bus.memory import Listeners
from metamcp_asgi.bus.protocol import BusUnavailable, Handler, Lease, OwnerLost, Take
from metamcp_asgi.bus.redis_address import COMMAND_SECONDS, Connections
from metamcp_asgi.bus.redis_asked import LOST, Asked, AskedCalls
from metamcp_asgi.bus.redis_buckets import RedisBuckets
from metamcp_asgi.bus.redis_events import Events
from metamcp_asgi.bus.redis_inbox import Inbox
from metamcp_asgi.bus.redis_leases import RedisLeases
from metamcp_asgi.bus.redis_link import Link
from metamcp_asgi.bus.redis_roll import Roll
from metamcp_asgi.bus.redis_work import Work
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.tasks import Tasks

__all__ = ["RedisBus"]

logger = logging.getLogger("metamcp")

BEAT: Final = 1.0
"""Seconds between two signs of life."""
ALIVE: Final = 4.0
"""Seconds for which a sign of life is believed."""
SILENCE: Final = 3.5
"""Seconds without a word from an owner after which it is lost; with a beat, below the 5 that are promised."""
_STALE: Final = SILENCE - 0.5
"""Age in seconds from which a call is not begun."""
LEASE: Final = 6.0
"""Seconds without a word from a caller after which its calls end; longer than any caller waits in silence."""
MAX_INBOX: Final = 10_000
"""Messages that may wait for one process."""
_INBOX_SECONDS: Final = 60
"""How long an inbox outlasts its last message."""
_LEFT: Final = b"left"

_SENT, _UNKNOWN, _FULL = 1, 0, -2

_SEND: Final = """
local alive = redis.call('GET', KEYS[1])
if not alive then return 0 end
if alive == 'left' then return -1 end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[1]) then return -2 end
redis.call('XADD', KEYS[2], '*', 'm', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[2])
return 1
"""


class RedisBus:
    """A ``Bus`` among all processes that share a Redis and a prefix.

    Args:
        url: As in ``redis_address.py``, with user and password.
        prefix: Of all keys, so that several gateways can share one Redis.

    Raises:
        ConfigError: The URL is wrong.
    """

    alone: bool = False
    take: Take | None

    def __init__(self, url: str, prefix: str) -> None:
        self._connections = Connections(url, prefix)
        self._prefix = self._connections.prefix
        self._handlers = Handlers()
        self._listeners = Listeners()
        self._tasks = Tasks()
        self._closed = False
        self._started = False
        self._begin()

    def _begin(self) -> None:
        self.name = secrets.token_urlsafe(12)
        self._process = os.getpid()
        self._link = Link(self._connections, self._sign_of_life)
        self._inbox = Inbox(self._connections, self._key(self.name, "inbox"), self._receive)
        self._events = Events(self._connections, self._link, self._prefix, self._listeners)
        self._asked = AskedCalls(time.monotonic)
        self._work = Work(self.name, self._handlers, self._send, time.monotonic)
        self.take = RedisBuckets(self._link, self._prefix).take
        self._leases = RedisLeases(self._link, self._prefix, self.name)
        self._roll = Roll(self._link, self._prefix, self.name)

    async def start(self) -> None:
        """Connect; in a process that was forked, under a new name."""
        if self._process != os.getpid():
            self._begin()
        self._inbox.read_at = time.monotonic()
        await self._link.open()
        self._started = True
        self._tasks.start(self._link.run(), "bus commands")
        self._tasks.start(self._supervise(self._inbox.run), "bus inbox")
        self._tasks.start(self._supervise(self._events.run), "bus events")
        self._tasks.start(self._supervise(self._beat), "bus heartbeat")
        try:
            # So that whoever hears of this process finds it alive.
            self._sign_of_life()
            async with asyncio.timeout(COMMAND_SECONDS):
                await self._link.flush()
                await self._events.ready()
        except TimeoutError:
            await self.aclose()
            raise BusUnavailable(f"Redis tells no events: {self._events.fault}") from None

    async def aclose(self) -> None:
        """Leave: calls to this process fail at once, and those that it made fail, too."""
        if self._closed:
            return
        self._closed = True
        if not self._started:
            return
        self._asked.fail(BusUnavailable("this process leaves the bus"))
        self._link.post("SET", self._key(self.name, "alive"), _LEFT, "EX", _INBOX_SECONDS)
        await self._work.aclose()
        await self._handlers.aclose()
        self._link.post("DEL", self._key(self.name, "inbox"))
        self._roll.leave()
        await self._link.flush()
        await self._tasks.aclose()
        await self._connections.aclose()

    def serve(self, kind: str, handler: Handler) -> None:
        """Answer calls and tells of a kind."""
        self._handlers.serve(kind, handler)

    def call(self, owner: str, kind: str, message: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the frames of another process's answer, or of this one's own without Redis."""
        try:
            self._check(owner, message)
        except MetaMCPError as error:
            return refused(error)
        return self._handlers.run(kind, message) if owner == self.name else self._call(owner, kind, message)

    async def _call(self, owner: str, kind: str, message: bytes) -> AsyncGenerator[bytes, None]:
        asked = self._asked.add(owner)
        try:
            await self._deliver(owner, wire.Ask(self.name, asked.number, kind, message), asked)
            while (frame := await asked.next()) is not None:
                self._grant(asked)
                yield frame
        finally:
            self._asked.remove(asked)
            if not asked.ended:
                self._post(owner, wire.Close(self.name, asked.number))

    async def tell(self, owner: str, kind: str, message: bytes) -> None:
        """Send a message that has no answer."""
        self._check(owner, message)
        if owner == self.name:
            self._handlers.tell(kind, message)
        else:
            await self._deliver(owner, wire.Tell(kind, message))

    async def tell_all(self, kind: str, message: bytes) -> None:
        """Send a message to all others; who is not alive any more is passed over."""
        check_size(message)
        told = wire.Tell(kind, message)
        sent = await asyncio.gather(*(self._submit(name, told) for name in await self._roll.others()))
        if _FULL in sent:
            raise BusUnavailable(f"{MAX_INBOX} messages wait for a process already")

    async def publish(self, topic: str, event: bytes) -> None:
        """Tell all processes."""
        check_size(event)
        await self._events.publish(topic, event)

    def subscribe(self, topic: str, listener: Callable[[bytes | None], None]) -> Callable[[], None]:
        """Have events told."""
        return self._listeners.add(topic, listener)

    async def get(self, key: str) -> bytes | None:
        """Return a fact."""
        value: bytes | None = await self._link.submit("GET", f"{self._prefix}:fact:{key}")
        return value

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a fact."""
        check_size(value)
        await self._link.submit("SET", f"{self._prefix}:fact:{key}", value, "PX", _milliseconds(seconds))

    async def claim(self, key: str, seconds: float) -> bool:
        """Claim a key."""
        name = f"{self._prefix}:claim:{key}"
        return await self._link.submit("SET", name, b"", "NX", "PX", _milliseconds(seconds)) is not None

    async def lease(self, key: str, seconds: float, *, seize: bool | str = False) -> Lease | None:
        """Take a lease."""
        return await self._leases.lease(key, seconds, seize=seize)

    async def renew(self, lease: Lease, seconds: float, note: bytes | None = None) -> bool:
        """Renew a lease."""
        return await self._leases.renew(lease, seconds, note)

    async def release(self, lease: Lease) -> None:
        """Give a lease up."""
        await self._leases.release(lease)

    async def holder(self, key: str) -> str | None:
        """Return who holds a lease."""
        return await self._leases.holder(key)

    def _check(self, owner: str, message: bytes) -> None:
        check_size(message)
        if self._closed and owner == self.name:
            raise OwnerLost(LOST)

    def _key(self, name: str, what: str) -> str:
        return f"{self._prefix}:{{process:{name}}}:{what}"

    def _submit(self, to: str, message: wire.Message) -> "asyncio.Future[Any]":
        keys = self._key(to, "alive"), self._key(to, "inbox")
        return self._link.submit("EVAL", _SEND, 2, *keys, MAX_INBOX, _INBOX_SECONDS, wire.encode(message))

    def _post(self, to: str, message: wire.Message) -> None:
        """Send what a later ping makes good if it fails."""
        self._send(to, message)

    async def _deliver(self, to: str, message: wire.Ask | wire.Tell, asked: Asked | None = None) -> None:
        if asked is not None:
            asked.sent = True
        sent = await self._submit(to, message)
        if sent == _UNKNOWN:
            # Redis may have lost all it knew a moment ago; whoever lives says so with its next beat.
            if asked is not None:
                asked.sent = False
            await asyncio.sleep(1.2 * BEAT)
            if asked is not None:
                asked.sent = True
            sent = await self._submit(to, message)
        if asked is not None:
            asked.heard = time.monotonic()
        _check_sent(sent)

    def _send(self, to: str, message: wire.Message) -> "asyncio.Future[None]":
        """Send at once; the future fails when that did not work, which nobody needs to look at."""
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def check(sent: "asyncio.Future[int]") -> None:
            if outcome.done():
                return
            try:
                _check_sent(sent.result())
            except MetaMCPError as error:
                outcome.set_exception(error)
                outcome.exception()
            else:
                outcome.set_result(None)

        self._submit(to, message).add_done_callback(check)
        return outcome

    def _grant(self, asked: Asked) -> None:
        if asked.grant():
            self._post(asked.owner, wire.Grant(self.name, asked.number, asked.taken))

    def _receive(self, data: bytes, age: float) -> None:
        try:
            message = wire.decode(data)
        except msgspec.MsgspecError as error:
            logger.warning("A message cannot be read (%s); do all processes run the same version?", error)
            return
        match message:
            case wire.Ask():
                # Its caller was told that this process is lost, or will be soon, and may have turned to another.
                if age < _STALE:
                    self._work.ask(message)
            case wire.Tell():
                self._handlers.tell(message.kind, message.message)
            case wire.Part():
                if (asked := self._asked.part(message)) is not None:
                    self._grant(asked)
            case wire.End():
                self._asked.end(message)
            case wire.Grant():
                self._work.grant(message)
            case wire.Close():
                self._work.close(message)
            case wire.Ping():
                self._post(message.caller, self._work.ping(message))
            case wire.Pong():
                self._asked.pong(message)

    def _sign_of_life(self) -> None:
        if not self._closed and time.monotonic() - self._inbox.read_at < SILENCE:
            self._link.post("SET", self._key(self.name, "alive"), b"1", "PX", _milliseconds(ALIVE))
            self._roll.sign()

    async def _beat(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(BEAT)
            now = time.monotonic()
            if now - last > 2 * BEAT:
                # This process stood still; what others have said meanwhile is still to be read.
                self._asked.forgive()
                self._work.forgive()
            last = now
            self._sign_of_life()
            reachable = now - self._inbox.read_at < SILENCE
            self._asked.expire(SILENCE, reachable=reachable)
            self._work.expire(LEASE)
            for owner, taken in self._asked.pings():
                self._post(owner, wire.Ping(self.name, taken))
            await self._events.beat()

    async def _supervise(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run one of the tasks on which all rests again after a defect."""
        while True:
            try:
                await work()
            except Exception:
                logger.exception("The bus has a defect; it goes on")
            await asyncio.sleep(BEAT)


def _check_sent(sent: int) -> None:
    if sent == _FULL:
        raise BusUnavailable(f"{MAX_INBOX} messages wait for that process already")
    if sent != _SENT:
        raise OwnerLost(LOST)


def _milliseconds(seconds: float) -> int:
    return max(1, int(1000 * seconds))
