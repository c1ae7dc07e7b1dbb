"""What the processes of one gateway write into each other's inboxes, as MessagePack.

A call has a number that its caller gives it. Its owner answers with parts of frames, numbered from 1, and an end, which
has the number after the last part's: what came twice is dropped, and what is missing is noticed. While a caller waits,
it pings the owner about once a second; the owner stops work that nobody asks for any more, and its pong says how
much it has sent, so that even a loss of the end is noticed.

All processes must run the same version; a message that cannot be read is logged and dropped.
"""

from collections.abc import Iterator
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

__all__ = [
    "PART",
    "WINDOW",
    "Ask",
    "Close",
    "End",
    "Grant",
    "Message",
    "Part",
    "Ping",
    "Pong",
    "Tell",
    "decode",
    "encode",
    "split",
    "weight",
]

PART: Final = 1024 * 1024
"""Bytes of a frame that are sent at once, so that a large one holds up nobody else's for long."""
WINDOW: Final = 4 * PART
"""Bytes of one call that may be on their way; the owner then waits until the caller has taken some."""
_LEAST: Final = 1024
"""What even the smallest part weighs, which bounds the number of those on their way."""


class Ask(Struct, tag="ask", array_like=True, gc=False):
    """A call."""

    caller: str
    number: int
    kind: str
    message: bytes


class Tell(Struct, tag="tell", array_like=True, gc=False):
    """A message that nobody waits for."""

    kind: str
    message: bytes


class Part(Struct, tag="part", array_like=True, gc=False):
    """A piece of a frame; ``more`` says that the frame goes on in the next one."""

    number: int
    index: int
    data: bytes
    more: bool


class End(Struct, tag="end", array_like=True, gc=False):
    """The last of an answer: ``failure`` says why it has failed; ``left`` that its owner closes."""

    number: int
    index: int
    failure: str | None = None
    left: bool = False


class Grant(Struct, tag="grant", array_like=True, gc=False):
    """How much, by ``weight``, the caller has taken of an answer in all."""

    caller: str
    number: int
    taken: int


class Close(Struct, tag="close", array_like=True, gc=False):
    """The caller no longer listens."""

    caller: str
    number: int


class Ping(Struct, tag="ping", array_like=True, gc=False):
    """All calls of a caller to one owner, by number, with what it has taken of each."""

    caller: str
    taken: dict[int, int]


class Pong(Struct, tag="pong", array_like=True, gc=False):
    """The answer to a ping: for each call in it the index of the last part sent, -1 when there is no such call."""

    owner: str
    sent: dict[int, int]


Message: TypeAlias = Ask | Tell | Part | End | Grant | Close | Ping | Pong

encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def decode(data: bytes) -> Message:
    """Return a message.

    Raises:
        msgspec.MsgspecError: It is none, or of another version.
    """
    return _decoder.decode(data)


def split(frame: bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield the parts of a frame, each with whether more follow; one for an empty frame."""
    if len(frame) <= PART:
        yield frame, False
        return
    for start in range(0, len(frame), PART):
        yield frame[start : start + PART], start + PART < len(frame)


def weight(data: bytes) -> int:
    """Return what a part counts against ``WINDOW``."""
    return max(len(data), _LEAST)
