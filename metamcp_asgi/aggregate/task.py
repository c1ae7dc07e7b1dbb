"""Calls that outlive their request: the tasks extension, and the tasks of 2025-11-25 (eras.md 2.13).

The extension passes through, with task ids that are sealed: they route without memory, and are good for nobody else.
What a client cannot follow itself is driven to its end within the call: tools of legacy servers that only
run as a task, and modern servers that insist on the extension.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeAlias, TypeGuard

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.questions import presented
from metamcp_asgi.aggregate.namespace import Running
from metamcp_asgi.aggregate.published import Renamed, Route
from metamcp_asgi.aggregate.rewrite import published_uris
from metamcp_asgi.errors import ProtocolError, UpstreamError, UpstreamProtocolError
from metamcp_asgi.protocol.capabilities import NOTHING, TASKS, Capabilities
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, MISSING_CAPABILITY, Members, decode_members, encode
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result, internal, tool_error
from metamcp_asgi.protocol.revisions import TASK_METHODS
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.upstream.interface import Server
from metamcp_asgi.upstream.modern import failure_of
from metamcp_asgi.upstream.questions import refusal
from metamcp_asgi.upstream.request import Question, Request
from metamcp_asgi.upstream.sharing import Affinity

__all__ = ["Handle", "LongRunning", "insists", "is_task"]

FIRST_POLL: Final = 0.25
LONGEST_POLL: Final = 5.0
"""Seconds between two looks at a task whose server does not say how often."""
MAX_SECONDS: Final = 3600.0
"""How long a call may wait for the end of its task."""
GOODBYE: Final = 2.0
"""Seconds that cancelling a task may take."""

_UNKNOWN: Final = "Unknown task"
_RELATED: Final = "io.modelcontextprotocol/related-task"
_COMPLETE: Final = Raw(b'"complete"')

Send: TypeAlias = Callable[[Call, Route], Awaitable[Outcome]]


class Handle(Struct, frozen=True, array_like=True):
    """What a sealed task id says: whose task it is, at which server, and its id there."""

    endpoint: str
    principal: str
    server: str
    id: str


class _Task(Struct):
    """What matters of a task in either form."""

    taskId: str  # noqa: N815
    status: Literal["working", "input_required", "completed", "failed", "cancelled"] = "working"
    statusMessage: str | None = None  # noqa: N815
    pollInterval: float | None = None  # noqa: N815
    pollIntervalMs: float | None = None  # noqa: N815
    result: Raw | UnsetType = UNSET
    error: Raw | UnsetType = UNSET
    inputRequests: dict[str, Question] = {}  # noqa: N815


class _Wanted(Struct):
    requiredCapabilities: dict[str, Any] = {}  # noqa: N815


class LongRunning:
    """Publishes tasks, and drives those that a client cannot follow.

    Args:
        keys: Seal the ids of tasks.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._sealer = keys.sealer("t1", Handle)

    def published(self, call: Call, server: Server, members: Members, renamed: Renamed | None) -> Outcome:
        """Return what a client is told of a task: under an id of ours, with questions and URIs as everywhere.

        Args:
            call: What the server answered; if it asked about a task, its id stays the one that the client knows.
            server: The server.
            members: Its answer.
            renamed: Which of the server's URIs are published in another form.

        Raises:
            UpstreamProtocolError: The answer is malformed.
        """
        task = _read(server, members)
        token = call.target
        if call.method not in TASK_METHODS:
            token = self._sealer.seal(Handle(call.endpoint, call.principal.id, server.name, task.taskId))
        shown = {**members, "taskId": Raw(encode(token))}
        if task.inputRequests:
            told = {}
            for key, question in task.inputRequests.items():
                if (refused := refusal(call.capabilities, question.method, question.params)) is not None:
                    return internal(f"The task asks for input that was not offered to it: {refused.message}")
                asked = presented(question, server.name)
                told[key] = {"method": asked.method, "params": asked.params}
            shown["inputRequests"] = Raw(encode(told))
        if renamed is not None and task.result is not UNSET:
            shown["result"] = Raw(encode(published_uris(decode_members(task.result), renamed.published)))
        return Result(b"", shown)

    async def answer(self, call: Call, running: Running, affinity: Affinity) -> Outcome:
        """Answer a request about a task.

        Args:
            call: The request; its target is the task's id.
            running: The namespace of its endpoint.
            affinity: On whose behalf.

        Raises:
            ProtocolError: The client did not declare the extension.
            UpstreamError: The server could not be asked.
        """
        if not call.capabilities.tasks:
            needed: Any = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
            raise ProtocolError(MISSING_CAPABILITY, f"{call.method} needs the extension {TASKS}", needed)
        handle = self._sealer.open(call.target)
        server = None
        past_middlewares = running.chain is not None and running.chain.concerns("tools/call")
        mine = handle is not None and (handle.endpoint, handle.principal) == (call.endpoint, call.principal.id)
        if handle is not None and mine and not past_middlewares:
            catalogues = (c for c in running.catalogues if c.server.name == handle.server)
            server = next((catalogue.server for catalogue in catalogues), None)
        if handle is None or server is None:
            return Failure(INVALID_PARAMS, _UNKNOWN, cause="unknown")
        params = {**call.params, "taskId": Raw(encode(handle.id))}
        outcome = await server.send(
            Request(call.method, params, call.meta, handle.id, hops=call.onward, capabilities=call.capabilities),
            affinity,
        )
        if isinstance(outcome, Result) and "taskId" in (members := outcome.split()):
            routes = (route for route in running.view.tools.values() if route.server is server)
            renamed = next((route.renamed for route in routes), None)
            return self.published(call, server, {**members, "resultType": _COMPLETE}, renamed)
        if isinstance(outcome, Failure) and outcome.code == INVALID_PARAMS:
            return Failure(INVALID_PARAMS, _UNKNOWN, cause="unknown")
        return outcome

    async def modern(self, call: Call, route: Route, send: Send) -> Outcome:
        """Have a modern server that insists on a task answer a call, and wait for the task's end."""
        able = msgspec.structs.replace(call, capabilities=call.capabilities.following_tasks(True))
        outcome = await send(able, route)
        if not is_task(outcome):
            return outcome
        task = _read(route.server, outcome.split())
        ended = await self._end(call, route.server, task, able.capabilities)
        if isinstance(ended, Failure):
            return ended
        if ended.result is not UNSET:
            return Result(ended.result)
        if ended.error is not UNSET:
            return failure_of(ended.error)
        return _without_result(ended)

    async def legacy(self, call: Call, route: Route, send: Send) -> Outcome:
        """Have a tool of a legacy server that only runs as a task answer a call."""
        if route.server.config.sharing == "call":
            return tool_error("The tool only runs as a task, and a session for each request knows no task of another")
        # All requests about the task have to go through one session, so nothing may ask for a session of its own.
        params = {**call.params, "task": Raw(encode({"ttl": int(MAX_SECONDS * 1000)}))}
        call = call if _affinity(call) != Affinity() else msgspec.structs.replace(call, session=uuid.uuid4().hex)
        started = msgspec.structs.replace(
            call, params=params, capabilities=NOTHING, ask=None, log_level=None, on_log=None
        )
        outcome = await send(started, route)
        if not isinstance(outcome, Result) or "task" not in (members := outcome.split()):
            return outcome
        task = _read(route.server, members["task"])
        ended = await self._end(call, route.server, task, NOTHING)
        if isinstance(ended, Failure):
            return ended
        if ended.status not in ("completed", "failed"):
            return _without_result(ended)
        request = Request("tasks/result", {"taskId": Raw(encode(task.taskId))}, hops=call.onward)
        outcome = await route.server.send(request, _affinity(call))
        if not isinstance(outcome, Result):
            return outcome
        members = _unrelated(outcome.split())
        # What a task leaves that broke off is up to its server, and may be nothing.
        return Result(encode(members)) if members or ended.status == "completed" else _without_result(ended)

    async def _end(self, call: Call, server: Server, task: _Task, capabilities: Capabilities) -> "_Task | Failure":
        """Return a task when it has ended; cancel it when the call is cancelled."""
        clock, pause, looks = asyncio.get_running_loop().time, FIRST_POLL, 0
        give_up = clock() + MAX_SECONDS
        request = Request(
            "tasks/get",
            {"taskId": Raw(encode(task.taskId))},
            name=task.taskId,
            hops=call.onward,
            capabilities=capabilities,
        )
        try:
            while task.status == "working" and clock() < give_up:
                await asyncio.sleep(_interval(task) or pause)
                pause = min(2 * pause, LONGEST_POLL)
                outcome = await server.send(request, _affinity(call))
                if not isinstance(outcome, Result):
                    return outcome if isinstance(outcome, Failure) else internal("Input was asked for by tasks/get")
                looks += 1
                before, task = task, _read(server, outcome.split())
                if call.on_progress is not None and task.statusMessage not in (None, before.statusMessage):
                    call.on_progress({"progress": Raw(encode(looks)), "message": Raw(encode(task.statusMessage))})
        except asyncio.CancelledError:
            await _cancel(server, request.params, call, capabilities)
            raise
        if task.status in ("completed", "failed", "cancelled"):
            return task
        await _cancel(server, request.params, call, capabilities)
        if task.status == "working":
            return internal(f"The task did not end within {MAX_SECONDS:g} seconds")
        return internal("The task asks for input, which this client cannot give to a task")


def is_task(outcome: Outcome) -> TypeGuard[Result]:
    """Tell whether a modern server answered a call with a task."""
    members = outcome.members if isinstance(outcome, Result) else None
    return members is not None and bytes(members.get("resultType", b"")) == b'"task"'


def insists(outcome: Outcome) -> bool:
    """Tell whether a modern server refuses to answer but with a task."""
    if not isinstance(outcome, Failure) or outcome.code != MISSING_CAPABILITY or outcome.data is None:
        return False
    try:
        wanted = msgspec.json.decode(encode(outcome.data), type=_Wanted).requiredCapabilities
    except msgspec.DecodeError:
        return False
    extensions = wanted.get("extensions")
    return wanted.keys() == {"extensions"} and isinstance(extensions, dict) and extensions.keys() == {TASKS}


def _read(server: Server, told: Members | Raw) -> _Task:
    try:
        return msgspec.json.decode(told if isinstance(told, Raw) else encode(told), type=_Task)
    except msgspec.DecodeError as error:
        raise UpstreamProtocolError(
            f"Server {server.name!r} describes a task in a form that is not MCP: {error}"
        ) from None


def _unrelated(members: Members) -> Members:
    """Return a result without the mark that ties it to its task, of which the client does not know."""
    if "_meta" not in members:
        return members
    try:
        meta = decode_members(members.pop("_meta"))
    except msgspec.ValidationError:
        meta = {}  # as everywhere, one that is no object says nothing
    meta.pop(_RELATED, None)
    return {**members, "_meta": Raw(encode(meta))} if meta else members


def _interval(task: _Task) -> float | None:
    milliseconds = task.pollIntervalMs if task.pollIntervalMs is not None else task.pollInterval
    return None if milliseconds is None else min(max(milliseconds / 1000, 0.05), LONGEST_POLL)


def _without_result(task: _Task) -> Outcome:
    return tool_error(f"The task ended as {task.status}: {task.statusMessage or 'no reason given'}")


async def _cancel(server: Server, params: Members, call: Call, capabilities: Capabilities) -> None:
    own = msgspec.json.decode(params["taskId"], type=str)
    request = Request("tasks/cancel", params, name=own, capabilities=capabilities)
    with contextlib.suppress(UpstreamError, TimeoutError):
        async with asyncio.timeout(GOODBYE):
            await server.send(request, _affinity(call))


def _affinity(call: Call) -> Affinity:
    return Affinity(principal=None if call.principal.kind == "anonymous" else call.principal.id, session=call.session)
