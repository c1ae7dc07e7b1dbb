"""One timer for many equal delays.

On the data path nearly every timer is cancelled long before it is due. A timer of the event loop costs microseconds to
make and to cancel; an entry in a dict costs a tenth of that, and equal delays are due in the order in which they began.
"""

import asyncio
from collections.abc import Callable

__all__ = ["Deadline", "Deadlines", "Delay", "Delayed"]


class Delay:
    """A fixed time after which something happens. Belongs to the event loop in which it is first used.

    Args:
        seconds: The time.
    """

    __slots__ = ("_loop", "_seconds", "_timer", "waiting")

    def __init__(self, seconds: float) -> None:
        self.waiting: dict[Delayed, None] = {}
        """What is due, soonest first."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop; kept, because up to Python 3.11 asking for it is a system call."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def current_task(self) -> "asyncio.Task[object]":
        """Return the task that runs now."""
        task = asyncio.current_task(self._loop or self.loop)
        assert task is not None
        return task

    def call(self, callback: Callable[[], None]) -> "Delayed":
        """Have ``callback`` called; it must not raise."""
        delayed = _Call(callback)
        self.start(delayed)
        return delayed

    def start(self, delayed: "Delayed") -> None:
        """Let the time of something begin that is not waiting."""
        loop = self._loop or self.loop
        delayed.delay = self
        delayed.due = due = loop.time() + self._seconds
        self.waiting[delayed] = None
        if self._timer is None:
            self._timer = loop.call_at(due, self._call_due)

    def _call_due(self) -> None:
        loop = self.loop
        now = loop.time() + 0.001  # a timer may be early by its resolution
        due = []
        for delayed in self.waiting:
            if delayed.due > now:
                break
            due.append(delayed)
        for delayed in due:
            del self.waiting[delayed]
        first = next(iter(self.waiting), None)
        self._timer = None if first is None else loop.call_at(first.due, self._call_due)
        for delayed in due:
            delayed.happen()


class Delayed:
    """Something that happens later, unless it is cancelled; ``Delay.start`` lets its time begin.

    To be inherited by what would otherwise hold a timer that holds it: every call would leave such a cycle, with its
    task and its body, to the garbage collector.
    """

    __slots__ = ("delay", "due")
    delay: Delay
    due: float

    def cancel(self) -> None:
        """Do not let it happen; harmless when it has happened or was cancelled already."""
        self.delay.waiting.pop(self, None)

    def happen(self) -> None:
        """Do what is due; must not raise."""
        raise NotImplementedError


class _Call(Delayed):
    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def happen(self) -> None:
        self._callback()


class Deadline(Delayed):
    """Cancels the current task when its time is over; what ``asyncio.timeout`` does, at a fraction of the price.

    Use::

        deadline = deadlines.start()
        try:
            ...
        except asyncio.CancelledError:
            if deadline.expired():
                raise UpstreamTimeout(...) from None
            raise
        finally:
            deadline.stop()
    """

    __slots__ = ("_cancelling", "_expired", "_paused", "_task")

    def __init__(self, delay: Delay) -> None:
        self._task = task = delay.current_task()
        self._cancelling = task.cancelling()
        self._expired = False
        self._paused = 0
        delay.start(self)

    def restart(self) -> None:
        """Let the time begin anew, unless it is paused."""
        if not self._expired and not self._paused:
            self.cancel()
            self.delay.start(self)

    def pause(self) -> None:
        """Let no time pass until as many calls of ``resume`` have come as of this."""
        self._paused += 1
        self.cancel()

    def resume(self) -> None:
        """End one pause; with the last one, the time begins anew."""
        self._paused -= 1
        self.restart()

    def stop(self) -> None:
        """Let the task run on, however long; what still comes to restart or to resume is too late."""
        self.pause()

    def expired(self) -> bool:
        """Tell whether it was this deadline, and nobody else, that cancelled the task; call once, on cancellation."""
        return self._expired and self._task.uncancel() <= self._cancelling

    def happen(self) -> None:
        """Cancel the task."""
        self._expired = True
        self._task.cancel()


class Deadlines:
    """Deadlines of one length.

    Args:
        seconds: Their time.
    """

    __slots__ = ("_delay",)

    def __init__(self, seconds: float) -> None:
        self._delay = Delay(seconds)

    def start(self) -> Deadline:
        """Start a deadline for the current task."""
        return Deadline(self._delay)
