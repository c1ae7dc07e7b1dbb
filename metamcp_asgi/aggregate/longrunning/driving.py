"""Follows the tasks of servers to their end, within a call that waits (eras.md 2.13).

For tools of legacy servers that run as a task, and for modern servers that insist on one. What the task asks is put to
the client of the call, if that can be asked while it waits.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import UNSET, Raw

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.interaction import Send
from metamcp_asgi.aggregate.interaction.rounds import Refused, answers_of
from metamcp_asgi.aggregate.longrunning.told import ENDED, LONGEST_POLL, Told, is_task, read, unrelated
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.errors import UpstreamError, UpstreamTimeout
from metamcp_asgi.protocol.capabilities import Capabilities
from metamcp_asgi.protocol.jsonrpc import Members, encode
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result, internal, tool_error
from metamcp_asgi.protocol.revisions import TASK_RESULT
from metamcp_asgi.upstream.interface import Server
from metamcp_asgi.upstream.modern import failure_of
from metamcp_asgi.upstream.questions import refusal
from metamcp_asgi.upstream.request import Request

__all__ = ["MAX_SECONDS", "legacy", "modern"]

FIRST_POLL: Final = 0.25
"""Seconds before the first look at a task whose server does not say how often; doubled for each further one."""
MAX_SECONDS: Final = 3600.0
"""How long a call may wait for the end of its task."""
GOODBYE: Final = 2.0
"""Seconds that cancelling a task may take."""

_NOBODY: Final = "The task asks for input, which this client cannot give to a task"


async def legacy(send: Send, call: Call, route: Route) -> Outcome:
    """Have a tool of a legacy server that runs as a task answer a call.

    Args:
        send: Has a server answer a call.
        call: The call; ``begun`` is called when the server has made the task.
        route: Where it leads.

    Raises:
        UpstreamError: The server could not be asked.
    """
    if route.server.config.sharing == "call":
        return tool_error("The tool only runs as a task, and a session for each request knows no task of another")
    # All requests about the task have to go through one session, of the same terms.
    params = {**call.params, "task": Raw(encode({"ttl": int(MAX_SECONDS * 1000)}))}
    call = msgspec.structs.replace(call, params=params, of_task=uuid.uuid4().hex, log_level=None, on_log=None)
    outcome = await send(call, route)
    if not isinstance(outcome, Result) or "task" not in (members := outcome.split()):
        return outcome
    task = read(route.server, members["task"])
    return await _Following(call, route.server, task, call.capabilities).end(_Following.legacy)


async def modern(send: Send, call: Call, route: Route) -> Outcome:
    """Have a modern server that may make a task answer a call, and wait for the task's end.

    Args:
        send: Has a server answer a call.
        call: The call; ``begun`` is called when the server has made a task.
        route: Where it leads.

    Raises:
        UpstreamError: The server could not be asked.
    """
    able = msgspec.structs.replace(call, capabilities=call.capabilities.following_tasks(True))
    outcome = await send(able, route)
    if not is_task(outcome):
        return outcome
    task = read(route.server, outcome.split())
    return await _Following(call, route.server, task, able.capabilities).end(_Following.modern)


class _Following:
    """One task of a server, and the call that waits for it."""

    def __init__(self, call: Call, server: Server, task: Told, capabilities: Capabilities) -> None:
        self._call = call
        self._server = server
        self._task = task
        self._capabilities = capabilities
        self._looks = 0
        self._waiting: asyncio.Task[Outcome] | None = None
        if call.begun is not None:
            call.begun()

    async def end(self, follow: Callable[["_Following"], Awaitable[Outcome]]) -> Outcome:
        """Return what becomes of the task; cancel it when the call is cancelled, or has waited for too long."""
        try:
            async with asyncio.timeout(MAX_SECONDS):
                return await follow(self)
        except TimeoutError:
            await self._cancel()
            return internal(f"The task did not end within {MAX_SECONDS:g} seconds")
        except asyncio.CancelledError:
            await self._cancel()
            raise
        finally:
            await self._stop_waiting()

    async def legacy(self) -> Outcome:
        """Wait for the result, which the server gives when the task has ended, and asks for input before that."""
        while True:
            outcome = await self._result()
            try:
                task = self._task if self._task.status in ENDED else await self._look()
            except UpstreamError:
                if not isinstance(outcome, Result):
                    raise
                return Result(encode(unrelated(outcome.split())))
            if isinstance(task, Told) and task.status == "cancelled":
                return _without_result(task)
            if isinstance(outcome, Result):
                members = unrelated(outcome.split())
                # What a task leaves that broke off is up to its server, and may be nothing.
                given = members or not isinstance(task, Told) or task.status == "completed"
                return Result(encode(members)) if given else _without_result(self._task)
            if isinstance(task, Failure):
                return outcome or task
            if task.status in ENDED:
                return outcome or _without_result(task)
            if task.status == "input_required" and not self._can_ask:
                await self._cancel()
                return internal(_NOBODY)
            # The server does not wait, or was silent for as long as it may be: so it is asked again.
            await asyncio.sleep(task.interval or FIRST_POLL)

    async def modern(self) -> Outcome:
        """Look at the task until it has ended, and have answered what it asks."""
        answered: set[str] = set()
        pause = FIRST_POLL
        while (task := self._task).status not in ENDED:
            if task.status == "input_required" and (failed := await self._answer(task, answered)) is not None:
                await self._cancel()
                return failed
            await asyncio.sleep(task.interval or pause)
            pause = min(2 * pause, LONGEST_POLL)
            if not isinstance(look := await self._look(), Told):
                return look
        if task.result is not UNSET:
            return Result(task.result)
        return failure_of(task.error) if task.error is not UNSET else _without_result(task)

    @property
    def _can_ask(self) -> bool:
        return self._call.ask is not None and self._capabilities.interactive

    async def _result(self) -> Outcome | None:
        """Return what ``tasks/result`` answers, ``None`` when that takes longer than a server may be silent.

        Meanwhile the task is looked at, for what its server says of its status.
        """
        await self._stop_waiting()
        waiting = self._waiting = asyncio.create_task(self._send(TASK_RESULT))
        pause = FIRST_POLL
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=self._task.interval or pause)
                pause = min(2 * pause, LONGEST_POLL)
                if waiting.done() or not isinstance(look := await self._look(), Told):
                    continue
                if look.status in ENDED and not waiting.done():
                    # Some servers forget who has waited for the end, but tell who asks after it.
                    return await self._send(TASK_RESULT)
                if look.status == "input_required" and not self._can_ask:
                    return None
            return waiting.result()
        except UpstreamTimeout:
            return None

    async def _look(self) -> "Told | Failure":
        outcome = await self._send("tasks/get")
        if not isinstance(outcome, Result):
            return outcome if isinstance(outcome, Failure) else internal("Input was asked for by tasks/get")
        before, self._task = self._task, read(self._server, outcome.split())
        self._looks += 1
        self._report(before.statusMessage)
        return self._task

    def _report(self, before: str | None) -> None:
        """Tell what the server says of the task's status, if that is another thing than before."""
        text = self._task.statusMessage
        if self._looks and self._call.on_progress is not None and text not in (None, before):
            self._call.on_progress({"progress": Raw(encode(self._looks)), "message": Raw(encode(text))})

    async def _answer(self, task: Told, answered: set[str]) -> Outcome | None:
        """Have the client answer what the task asks and did not ask before; return why it cannot be."""
        if self._call.ask is None:
            return internal(_NOBODY)
        new = {key: question for key, question in task.inputRequests.items() if key not in answered}
        for question in new.values():
            if (refused := refusal(self._capabilities, question.method, question.params)) is not None:
                return internal(f"The task asks for input that was not offered to it: {refused.message}")
        if not new:
            return None
        try:
            answers = await answers_of(new, self._call.ask)
        except Refused as refusal_:
            return tool_error(str(refusal_), "refused")
        answered |= new.keys()
        outcome = await self._send("tasks/update", inputResponses=Raw(encode(answers)))
        return outcome if isinstance(outcome, Failure) else None

    async def _send(self, method: str, **params: Raw) -> Outcome:
        call, task = self._call, self._task.taskId
        told: Members = {"taskId": Raw(encode(task)), **params}
        # With its client, because the terms of the session are those of what may be asked.
        request = Request(
            method, told, name=task, hops=call.onward, capabilities=self._capabilities, ask=call.ask, trace=call.trace
        )
        return await self._server.send(request, call.affinity)

    async def _cancel(self) -> None:
        """Cancel the task, which ends the wait for its result, too.

        That wait is taken back only if its server forgets it: a server made with version 1 of the Python SDK can fall
        silent for good when a request is cancelled while it answers it.
        """
        with contextlib.suppress(UpstreamError, TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await self._send("tasks/cancel")
                if self._waiting is not None:
                    await asyncio.wait({self._waiting})

    async def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            await asyncio.gather(self._waiting, return_exceptions=True)
            self._waiting = None


def _without_result(task: Told) -> Outcome:
    return tool_error(f"The task ended as {task.status}: {task.statusMessage or 'no reason given'}")
