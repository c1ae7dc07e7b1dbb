"""Calls of legacy servers that wait for a modern client's answers (eras.md 2.6, "park and resume").

The server's call stays in flight in the process that made it, its owner, while the client is away; the client's next
request finds it through the owner's name in its ``requestState``, from whatever process that request reaches. A round
can be claimed once: what is repeated finds nothing.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.parked import Parked
from metamcp_asgi.aggregate.interaction.state import NOT_VALID, State, States, invalid
from metamcp_asgi.aggregate.interaction.wire import Frame, Resume, lost, read_frames, written
from metamcp_asgi.aggregate.shares import Most, Shares
from metamcp_asgi.bus.protocol import UNREACHABLE, Bus, BusUnavailable, CallFailed, MessageTooLarge, OwnerLost
from metamcp_asgi.errors import ProtocolError, UpstreamError
from metamcp_asgi.metrics.sheet import uncounted
from metamcp_asgi.pace import BURST, INTERVAL, Pace
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, Members
from metamcp_asgi.protocol.outcome import InputRequired, Outcome, away, internal
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.request import OnLog, OnProgress

__all__ = ["Parking", "Waiting"]

logger = logging.getLogger("metamcp.interaction")

Send: TypeAlias = Callable[[Call], Awaitable[Outcome]]
"""Has a server answer a call."""

MAX_PER_PRINCIPAL: Final = 32
"""How many calls of one principal may wait for its answers."""
MAX_OF_STRANGERS: Final = 512
"""The same of all strangers of one endpoint together."""
MAX_OF_ADDRESS: Final = 128
"""The same of one address among them, behind which there may be many."""
MAX_PARKED: Final = 4096
"""How many calls may wait for answers in this process."""
LAST_WORDS: Final = 1.0
"""Seconds that a server has to end its call once it was told that nobody will answer."""
KIND: Final = "resume"
"""The kind of the messages with which other processes resume a call here."""


class Waiting(InputRequired):
    """A parked call's questions, with a state of our own."""


class Parking:
    """The parked calls of this process, and the way to those of others.

    Args:
        states: Makes what the client carries.
        bus: Reaches the other processes.
        grace: Seconds that a call whose client is at another process may take to finish when this one ends.
        changed: Is told of one parked call more, or of one less.
    """

    def __init__(self, states: States, bus: Bus, grace: float, changed: Callable[[int], object] = uncounted) -> None:
        self._changed = changed
        self._grace = grace
        self._closing = False
        self._states = states
        self._bus = bus
        self._parked: dict[bytes, Parked] = {}
        self._shares = Shares()
        self._tasks = Tasks()
        bus.serve(KIND, self._resume_for_another)

    async def begin(self, call: Call, server: str, send: Send) -> Outcome:
        """Have a server answer a call; it may ask the client while it does.

        Args:
            call: The call, from a client that can be asked.
            server: The server's name.
            send: Has it answer.

        Returns:
            What became of the call, or ``Waiting`` with what the client is asked.

        Raises:
            UpstreamError: The server could not be asked.
        """
        parked = Parked(call, server, self._admit)
        asking = msgspec.structs.replace(
            call,
            ask=parked.ask,
            on_progress=parked.progress,
            on_log=parked.log,
        )
        parked.task = asyncio.ensure_future(send(asking))
        return await self._go_on(parked, call.on_progress, call.on_log)

    async def resume(self, call: Call, state: State) -> Outcome:
        """Go on with a parked call.

        Args:
            call: The repeated call, with the client's answers.
            state: What it brings along, already found to be its own.

        Raises:
            ProtocolError: The round is over, or an answer is malformed.
            UpstreamError: The server could not be asked.
        """
        assert call.inputs is not None
        given = call.inputs.responses
        if state.owner == self._bus.name and not self._gone(state.pid):
            parked = self._claim(call, state.pid, state.round, given)
            return await self._go_on(parked, call.on_progress, call.on_log)
        try:
            if state.owner == self._bus.name:
                raise OwnerLost("this process is about to end")
            return await self._resume_elsewhere(call, state, given)
        except OwnerLost as error:
            return lost(call.method, error)
        except BusUnavailable:
            return away(f"The pending interaction cannot be reached now: {UNREACHABLE}")
        except MessageTooLarge as error:
            return internal(str(error))
        except CallFailed:
            return lost(call.method, OwnerLost("it failed there", sent=True))

    async def aclose(self) -> None:
        """Let calls that go on finish, tell the servers of the others that nobody will answer, and end those."""
        self._closing = True
        if going_on := [parked.task for parked in self._parked.values() if parked.running]:
            await asyncio.wait(going_on, timeout=self._grace)
        await asyncio.gather(*(self._abandon(parked) for parked in list(self._parked.values())))
        await self._tasks.aclose()

    def _gone(self, pid: bytes) -> bool:
        """Tell whether a call is not known any more because this process ends."""
        return self._closing and pid not in self._parked

    def _admit(self, parked: Parked) -> bool:
        """Count a call as one that may wait for its client, from its first question to its end."""
        if parked.pid in self._parked:
            return True
        call = parked.call
        most = Most(MAX_PARKED, MAX_PER_PRINCIPAL, MAX_OF_STRANGERS, MAX_OF_ADDRESS)
        if self._shares.full(call.endpoint, call.principal, most):
            return False
        self._parked[parked.pid] = parked
        self._changed(1)
        self._shares.take(call.endpoint, call.principal)
        return True

    async def _go_on(self, parked: Parked, on_progress: OnProgress | None, on_log: OnLog | None) -> Outcome:
        """Return the outcome, or the next questions."""
        parked.attend(on_progress, on_log)
        try:
            await parked.until_asked_or_done()
        except asyncio.CancelledError:
            # The client closed its request, which cancels the call (T-12).
            await self._end(parked)
            raise
        finally:
            parked.leave()
        if parked.task.done():
            self._forget(parked)
            if parked.task.cancelled():
                # By us, as this process ends: what the server did meanwhile is not known.
                return lost(parked.call.method, OwnerLost("this process ends", sent=True))
            return parked.task.result()
        return self._park(parked)

    def _park(self, parked: Parked) -> Waiting:
        parked.round += 1
        parked.running = False
        loop = asyncio.get_running_loop()
        parked.timer = loop.call_later(self._states.seconds, self._expire, parked)
        state = self._states.seal(
            parked.call, "parked", parked.round, parked.server, owner=self._bus.name, pid=parked.pid
        )
        return Waiting(parked.asked(), state)

    def _claim(self, call: Call, pid: bytes, round_: int, given: Members) -> Parked:
        """Return a parked call for its next round, its questions answered as far as they are.

        Raises:
            ProtocolError: Its round was claimed before, or an answer is malformed; then it can be tried again.
        """
        parked = self._parked.get(pid)
        if parked is None or parked.running or parked.round != round_ or _whose(parked.call) != _whose(call):
            raise invalid(call, "the round is over")
        parked.answer(given)
        parked.running = True
        if parked.timer is not None:
            parked.timer.cancel()
        return parked

    def _forget(self, parked: Parked) -> None:
        if parked.timer is not None:
            parked.timer.cancel()
        if self._parked.pop(parked.pid, None) is not None:
            self._changed(-1)
            self._shares.give_back(parked.call.endpoint, parked.call.principal)

    async def _end(self, parked: Parked) -> None:
        self._forget(parked)
        parked.task.cancel()
        await asyncio.wait({parked.task})

    def _expire(self, parked: Parked) -> None:
        self._forget(parked)  # at once: nobody may claim it between here and the task's first step
        self._tasks.start(self._abandon(parked), "abandon parked call")

    async def _abandon(self, parked: Parked) -> None:
        """End a call that nobody came back for: the server is told so, and has a moment to take it in."""
        self._forget(parked)
        parked.running = True
        parked.abandon()
        await asyncio.wait({parked.task}, timeout=LAST_WORDS)
        await self._end(parked)
        if not parked.task.cancelled():
            parked.task.exception()  # nobody is left to be told of it

    async def _resume_elsewhere(self, call: Call, state: State, given: Members) -> Outcome:
        message = Resume(
            pid=state.pid,
            round=state.round,
            endpoint=call.endpoint,
            principal=call.principal.id,
            answers={key: bytes(value) for key, value in given.items()},
            progress=call.on_progress is not None,
            log=call.on_log is not None,
        )
        frames = self._bus.call(state.owner, KIND, msgspec.msgpack.encode(message))
        return await read_frames(frames, call.on_progress, call.on_log)

    async def _resume_for_another(self, message: bytes) -> AsyncIterator[bytes]:
        """Go on with a call here whose client is at another process; closed early when that client leaves."""
        resume = msgspec.msgpack.decode(message, type=Resume)
        if self._gone(resume.pid):
            return  # no frame at all says that nothing has begun
        frames: asyncio.Queue[bytes] = asyncio.Queue()
        progress: Pace[Members] = Pace(lambda members: frames.put_nowait(written("progress", members)), INTERVAL, BURST)

        async def answer() -> None:
            try:
                parked = self._parked.get(resume.pid)
                given = {key: Raw(value) for key, value in resume.answers.items()}
                if parked is None or _whose(parked.call) != (resume.endpoint, resume.principal):
                    raise ProtocolError(INVALID_PARAMS, NOT_VALID)
                self._claim(parked.call, resume.pid, resume.round, given)
                outcome: Outcome | ProtocolError | UpstreamError = await self._go_on(
                    parked,
                    progress if resume.progress else None,
                    (lambda members: frames.put_nowait(written("log", members))) if resume.log else None,
                )
            except (ProtocolError, UpstreamError) as error:
                outcome = error
            progress.flush()
            frames.put_nowait(Frame.of(outcome))

        task = asyncio.ensure_future(answer())
        task.add_done_callback(lambda _: frames.put_nowait(b""))
        try:
            while frame := await frames.get():
                yield frame
        finally:
            progress.close()
            task.cancel()
            await asyncio.wait({task})


def _whose(call: Call) -> tuple[str, str]:
    return call.endpoint, call.principal.id
