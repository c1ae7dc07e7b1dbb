"""The calls of other processes that this one answers.

Each is a task that runs a handler, sends what it yields, and is cancelled when its caller no longer listens: because
the caller says so, because its ping no longer names the call, or because it is not heard of any more.
"""

import asyncio
import collections
import contextlib
import functools
from collections.abc import Callable
from typing import Final

from metamcp_asgi.bus.handlers import Handlers
from metamcp_asgi.bus.protocol import BusUnavailable, CallFailed, OwnerLost
from metamcp_asgi.bus.redis_link import backoff
from metamcp_asgi.bus.wire import WINDOW, Ask, Close, End, Grant, Message, Part, Ping, Pong, split, weight
from metamcp_asgi.tasks import Tasks

__all__ = ["MAX_ANSWERING", "Work"]

MAX_ANSWERING: Final = 10_000
"""Calls of others that are answered at a time; most wait for a person or for a slow tool."""
_AHEAD: Final = 64
"""Parts that are sent before it is known what became of the first."""


class _Answer:
    """One call that is being answered.

    Args:
        submit: Sends to the caller; the future fails when that did not work.
    """

    __slots__ = ("_submit", "_unconfirmed", "given", "index", "sent", "taken", "task", "waiter")

    def __init__(self, submit: "Callable[[Message], asyncio.Future[None]]") -> None:
        self._submit = submit
        self._unconfirmed: collections.deque[tuple[Part | End, asyncio.Future[None]]] = collections.deque()
        self.task: asyncio.Task[None] | None = None
        self.index = 0
        """Of the last part."""
        self.sent = 0
        """Of the last part that Redis has taken, with all before it."""
        self.given = 0
        """The size of all parts, by ``weight``."""
        self.taken = 0
        """How much of that the caller has taken."""
        self.waiter: asyncio.Future[None] | None = None

    def grant(self, taken: int) -> None:
        """Take in what the caller has taken."""
        if taken > self.taken:
            self.taken = taken
            if self.waiter is not None and not self.waiter.done():
                self.waiter.set_result(None)

    async def give(self, number: int, frame: bytes) -> None:
        """Send a frame, as soon as there is room on the way."""
        for data, more in split(frame):
            weighs = weight(data)
            while self.given > self.taken and self.given - self.taken + weighs > WINDOW:
                self.waiter = asyncio.get_running_loop().create_future()
                try:
                    await self.waiter
                finally:
                    self.waiter = None
            self.given += weighs
            self.index += 1
            await self._send(Part(number, self.index, data, more))

    async def end(self, number: int, failure: str | None) -> None:
        """Send the end, and wait until all is sent."""
        self.index += 1
        await self._send(End(number, self.index, failure))
        while self._unconfirmed:
            await self._confirm()

    async def _send(self, message: Part | End) -> None:
        self._unconfirmed.append((message, self._submit(message)))
        while self._unconfirmed and (len(self._unconfirmed) > _AHEAD or self._unconfirmed[0][1].done()):
            await self._confirm()

    async def _confirm(self) -> None:
        """Wait for the first; when it failed, send it and all that follow again, until the caller's silence ends it."""
        delay = 0.0
        while True:
            message, sent = self._unconfirmed[0]
            try:
                await sent
            except (BusUnavailable, OwnerLost):
                # A caller that is not alive may have been forgotten by Redis, and be there again in a moment.
                delay = backoff(delay)
                await asyncio.sleep(delay)
                messages = [message for message, _ in self._unconfirmed]
                self._unconfirmed.clear()
                self._unconfirmed.extend((message, self._submit(message)) for message in messages)
            else:
                self._unconfirmed.popleft()
                self.sent = message.index
                return


class Work:
    """All calls of others.

    Args:
        name: This process.
        handlers: What it answers.
        submit: Sends to another process; the future fails when that did not work.
        clock: Seconds, never going backwards.
    """

    def __init__(
        self,
        name: str,
        handlers: Handlers,
        submit: "Callable[[str, Message], asyncio.Future[None]]",
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._handlers = handlers
        self._submit = submit
        self._clock = clock
        self._answers: dict[str, dict[int, _Answer]] = {}
        """By caller and number."""
        self._heard: dict[str, float] = {}
        self._count = 0
        self._tasks = Tasks()

    def ask(self, ask: Ask) -> None:
        """Start to answer a call."""
        of_caller = self._answers.setdefault(ask.caller, {})
        self._heard[ask.caller] = self._clock()
        if ask.number in of_caller:
            return
        answer = of_caller[ask.number] = _Answer(functools.partial(self._submit, ask.caller))
        self._count += 1
        answer.task = task = self._tasks.start(self._answer(ask, answer), f"answer {ask.kind}")
        # Not in the task itself, which never begins when the caller closes in the same breath.
        task.add_done_callback(lambda _: self._forget(ask))

    def grant(self, grant: Grant) -> None:
        """Let an answer go on."""
        answer = self._answers.get(grant.caller, {}).get(grant.number)
        if answer is not None:
            answer.grant(grant.taken)

    def close(self, close: Close) -> None:
        """Stop a call."""
        self._stop(self._answers.get(close.caller, {}).get(close.number))

    def ping(self, ping: Ping) -> Pong:
        """Stop what the caller no longer names, and return what it is to be told."""
        answers = self._answers.get(ping.caller, {})
        if answers:
            self._heard[ping.caller] = self._clock()
        for number, answer in answers.items():
            if number not in ping.taken:
                self._stop(answer)
        sent = {}
        for number, taken in ping.taken.items():
            answer_ = answers.get(number)
            sent[number] = -1 if answer_ is None else answer_.sent
            if answer_ is not None:
                answer_.grant(taken)
        return Pong(self._name, sent)

    def expire(self, silence: float) -> None:
        """Stop the calls of callers that were not heard of for ``silence`` seconds."""
        now = self._clock()
        for caller in [caller for caller, heard in self._heard.items() if now - heard > silence]:
            for answer in self._answers[caller].values():
                self._stop(answer)

    def forgive(self) -> None:
        """Begin the silence of all callers anew, after this process stood still itself."""
        now = self._clock()
        for caller in self._heard:
            self._heard[caller] = now

    async def aclose(self) -> None:
        """Stop all calls and tell their callers; those that Redis keeps from hearing it notice the silence."""
        ends = [
            (caller, End(number, 0, left=True))
            for caller, answers in self._answers.items()
            for number, answer in answers.items()
        ]
        await self._tasks.aclose()
        await asyncio.gather(*(self._submit(caller, end) for caller, end in ends), return_exceptions=True)

    async def _answer(self, ask: Ask, answer: _Answer) -> None:
        failure: str | None = None
        try:
            await self._stream(ask, answer)
        except CallFailed as error:
            failure = str(error)
        await answer.end(ask.number, failure)

    async def _stream(self, ask: Ask, answer: _Answer) -> None:
        if self._count > MAX_ANSWERING:
            raise CallFailed(f"{MAX_ANSWERING} calls are being answered there already")
        async with contextlib.aclosing(self._handlers.run(ask.kind, ask.message)) as frames:
            async for frame in frames:
                await answer.give(ask.number, frame)

    def _forget(self, ask: Ask) -> None:
        of_caller = self._answers[ask.caller]
        del of_caller[ask.number]
        self._count -= 1
        if not of_caller:
            del self._answers[ask.caller], self._heard[ask.caller]

    @staticmethod
    def _stop(answer: _Answer | None) -> None:
        if answer is not None and answer.task is not None:
            answer.task.cancel()
