"""What a bus does; everything above it works the same with one process and with many.

A socket, a child process and a parked call have one *owner*, the process that holds them. Others reach it by ``call``
and ``tell``, of which nothing is lost while the owner lives. ``publish`` is for what is true until the next word on the
same topic (level-triggered); who was away asks anew. ``get``, ``put`` and ``claim`` hold small facts for a time. What
only one process may hold at a time has a ``lease``, whose number tells the present holder from one that stood still.

A message never speaks for its sender: what leads to somebody's data carries whose it is, and the owner checks
that again (eras.md SB-05).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

from metamcp_asgi.errors import MetaMCPError

__all__ = [
    "MAX_FRAME",
    "MAX_MESSAGE",
    "UNREACHABLE",
    "Bus",
    "BusUnavailable",
    "CallFailed",
    "Handler",
    "Lease",
    "MessageTooLarge",
    "OwnerLost",
    "Take",
]

Handler: TypeAlias = Callable[[bytes], AsyncIterator[bytes]]
"""Answers calls of one kind with any number of frames; closed early when the caller no longer listens."""

Take: TypeAlias = Callable[[str, Sequence[tuple[str, int, float]]], Awaitable[tuple[int, Sequence[float]]]]
"""Takes one from each token bucket of a group, or from none of them if one is empty.

Given the group and, for each bucket, its name, its capacity and the seconds in which it fills; answered with the index
of the first empty one, -1 if there is none, and the seconds until each is full, after the taking.
Raises ``BusUnavailable``.
"""

MAX_MESSAGE: Final = 16 * 1024 * 1024
"""Bytes of a message, an event or a fact; four times a client's largest request."""
MAX_FRAME: Final = 80 * 1024 * 1024
"""Bytes of a frame of an answer; room for a server's largest result (64 MiB) and what it is wrapped in."""


class OwnerLost(MetaMCPError):
    """The process that held what is asked for is gone, and what it held with it.

    Args:
        message: What is to be told.
        sent: Whether that process may have got the message.
    """

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent


UNREACHABLE: Final = "the processes of this gateway cannot reach each other (is its Redis away?); try again later"
"""What clients are told of ``BusUnavailable``, whose message is for the operator: it has the address of Redis."""


class BusUnavailable(MetaMCPError):
    """The bus cannot be reached now. Nothing falls back to this process alone: it would be wrong some of the time."""


class CallFailed(MetaMCPError):
    """The owner lives, but its handler failed or there is none for the kind; its log says why."""


class MessageTooLarge(MetaMCPError):
    """A message is larger than ``MAX_MESSAGE``; nothing was sent."""


class Lease(Struct, frozen=True):
    """A right that one process has at a time, until it is over, given up or seized.

    ``number`` is larger than that of every lease of this ``key`` before, so whatever is guarded can refuse a holder
    that does not know yet that it is none (fencing). ``before`` is who held it until it was seized, and ``note`` what
    the last holder has left with it.
    """

    key: str
    number: int
    before: str | None = None
    note: bytes = b""


class Bus(Protocol):
    """The bus as one process sees it."""

    name: str
    """This process among all; unguessable, never used again, made anew after a fork."""
    alone: bool
    """Whether this process is the only one."""
    take: Take | None
    """Token buckets that all processes share; ``None`` when this one is alone and counts in its own memory."""

    async def start(self) -> None:
        """Connect.

        Raises:
            BusUnavailable: The bus cannot be reached.
        """

    async def aclose(self) -> None:
        """Leave; calls to this process fail with ``OwnerLost`` from now on."""

    def serve(self, kind: str, handler: Handler) -> None:
        """Answer calls and tells of a kind here; to be called before ``start``."""

    def call(self, owner: str, kind: str, message: bytes) -> AsyncGenerator[bytes, None]:
        """Ask another process (or this one) and yield the frames of its answer.

        Closing the iterator early ends the work there.

        Raises:
            OwnerLost: The owner is not alive, or dies before its last frame; known within 5 seconds.
            CallFailed: The handler raised an exception, or there is none for this kind.
            MessageTooLarge: The message has more than ``MAX_MESSAGE``.
            BusUnavailable: The bus cannot be reached.
        """

    async def tell(self, owner: str, kind: str, message: bytes) -> None:
        """Send a message that has no answer; what its handler yields is dropped.

        Raises:
            OwnerLost: The owner is not alive.
            BusUnavailable: The bus cannot be reached.
        """

    async def tell_all(self, kind: str, message: bytes) -> None:
        """Send a message that has no answer to every other process that lives; a process that leaves may miss it.

        Raises:
            BusUnavailable: The bus cannot be reached, or not all of them can.
        """

    async def publish(self, topic: str, event: bytes) -> None:
        """Tell all processes, this one included; an event may be lost with a connection.

        Raises:
            BusUnavailable: The bus cannot be reached.
        """

    def subscribe(self, topic: str, listener: Callable[[bytes | None], None]) -> Callable[[], None]:
        """Have events of a topic told; ``None`` says that some may have been missed. Returns what ends that."""

    async def get(self, key: str) -> bytes | None:
        """Return a fact, ``None`` when there is none or its time is over.

        Raises:
            BusUnavailable: The bus cannot be reached.
        """

    async def put(self, key: str, value: bytes, seconds: float) -> None:
        """Keep a fact for a time.

        Raises:
            BusUnavailable: The bus cannot be reached.
        """

    async def claim(self, key: str, seconds: float) -> bool:
        """Tell whether this is the first claim of a key within its time, over all processes.

        Raises:
            BusUnavailable: The bus cannot be reached.
        """

    async def lease(self, key: str, seconds: float, *, seize: bool | str = False) -> Lease | None:
        """Take a lease for a time; whoever needs it for longer renews it.

        Args:
            key: What it is of.
            seconds: How long it lasts.
            seize: Whether to take it from its holder, which learns of that when it renews the lease, or is told; the
                name of a process: from that one only.

        Returns:
            The lease; ``None`` when somebody holds it, this process included, and it is not to be seized.

        Raises:
            BusUnavailable: The bus cannot be reached.
        """

    async def renew(self, lease: Lease, seconds: float, note: bytes | None = None) -> bool:
        """Let a lease last from now on, and leave a note with it, both in one step; false when it is lost.

        A note lasts as long as the lease does; ``None`` leaves that of before. False also means that no note was left.

        Raises:
            BusUnavailable: The bus cannot be reached; the lease may be over meanwhile.
        """

    async def release(self, lease: Lease) -> None:
        """Give a lease up, with its note; harmless when it is lost.

        Raises:
            BusUnavailable: The bus cannot be reached; it ends with its time.
        """

    async def holder(self, key: str) -> str | None:
        """Return the process that holds a lease, ``None`` when nobody does.

        Raises:
            BusUnavailable: The bus cannot be reached.
        """
