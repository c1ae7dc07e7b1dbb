"""What this process answers, run in it; the part of a bus that is the same with one process and with many.

Knows nothing of other processes.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator

from metamcp_asgi.bus.protocol import MAX_FRAME, MAX_MESSAGE, CallFailed, Handler, MessageTooLarge
from metamcp_asgi.tasks import Tasks

__all__ = ["Handlers", "check_size", "refused"]

logger = logging.getLogger("metamcp")


class Handlers:
    """The handlers of one process, by kind."""

    __slots__ = ("_by_kind", "_telling")

    def __init__(self) -> None:
        self._by_kind: dict[str, Handler] = {}
        self._telling = Tasks()

    def serve(self, kind: str, handler: Handler) -> None:
        """Answer a kind.

        Raises:
            ValueError: The kind has a handler already.
        """
        if kind in self._by_kind:
            raise ValueError(f"calls of kind {kind!r} are answered already")
        self._by_kind[kind] = handler

    async def run(self, kind: str, message: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the frames of a handler, which is closed with this generator.

        Raises:
            CallFailed: It raised an exception (which is logged here), there is none, or a frame is too large.
        """
        handler = self._by_kind.get(kind)
        if handler is None:
            logger.warning("Nothing answers calls of kind %s", kind)
            raise CallFailed(f"calls of kind {kind!r} are not answered there; do all processes run the same version?")
        frames = handler(message)
        try:
            while True:
                # Only what the handler raises is its failure: an exception thrown in at ``yield`` is the caller's.
                try:
                    frame = await anext(frames)
                except StopAsyncIteration:
                    return
                except Exception as error:
                    logger.exception("The handler of %s failed", kind)
                    raise CallFailed(f"a call of kind {kind!r} failed there; that process's log says why") from error
                if len(frame) > MAX_FRAME:
                    logger.error("The handler of %s gave %d bytes; %d are allowed", kind, len(frame), MAX_FRAME)
                    raise CallFailed(f"a call of kind {kind!r} was answered with more than {MAX_FRAME} bytes")
                yield frame
        finally:
            if isinstance(frames, AsyncGenerator):
                await frames.aclose()

    def tell(self, kind: str, message: bytes) -> None:
        """Run a handler in the background and drop its frames; a failure is in the log."""
        self._telling.start(self._drop(kind, message), f"tell {kind}")

    async def aclose(self) -> None:
        """Cancel what ``tell`` has started, and wait for its end."""
        await self._telling.aclose()

    async def _drop(self, kind: str, message: bytes) -> None:
        # CallFailed: nobody waits for the answer.
        with contextlib.suppress(CallFailed):
            async with contextlib.aclosing(self.run(kind, message)) as frames:
                async for _ in frames:
                    pass


def check_size(message: bytes) -> None:
    """Refuse a message before anything of it is sent.

    Raises:
        MessageTooLarge: It has more than ``MAX_MESSAGE``.
    """
    if len(message) > MAX_MESSAGE:
        raise MessageTooLarge(f"a message of {len(message)} bytes cannot be sent to another process; {MAX_MESSAGE} can")


async def refused(error: Exception) -> AsyncGenerator[bytes, None]:
    """Be a call that fails as soon as its first frame is asked for."""
    raise error
    yield b""
