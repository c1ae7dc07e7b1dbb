"""The tasks of all endpoints: which calls become one, and what is answered about one, to clients of either revision."""

import asyncio
from contextlib import aclosing
from typing import Any, Final

import msgspec
from msgspec import Raw

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.longrunning.held import Held, Work
from metamcp_asgi.aggregate.longrunning.holding import Holding, Unknown
from metamcp_asgi.aggregate.longrunning.listening import Listening, Tell
from metamcp_asgi.aggregate.longrunning.passing import UNKNOWN, inputs, passed, passed_back
from metamcp_asgi.aggregate.longrunning.state import Handle, State, as_extension, as_of_2025, related
from metamcp_asgi.aggregate.namespace import Running
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.bus.protocol import UNREACHABLE, Bus, BusUnavailable, MessageTooLarge
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.capabilities import TASKS
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, MISSING_CAPABILITY, Members, decode_client, encode
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result, internal
from metamcp_asgi.protocol.revisions import TASK_RESULT
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.upstream.request import Question

__all__ = ["LongRunning"]

_COMPLETE: Final = Raw(b'"complete"')
_TASK: Final = Raw(b'"task"')


class LongRunning:
    """Makes tasks of calls, and answers what is asked about tasks.

    Args:
        keys: Seal the ids of tasks.
        bus: Reaches the processes that own tasks.
        keeps: Whether calls become tasks of ours, which other processes must be able to reach.
    """

    def __init__(self, keys: KeyRing, bus: Bus, *, keeps: bool = True) -> None:
        self._keeps = keeps
        self._sealer = keys.sealer("t1", Handle)
        self._holding = Holding(bus)

    def wanted(self, call: Call, route: Route) -> bool:
        """Tell whether a call becomes a task of ours.

        Args:
            call: A call of a tool that can run as a task.
            route: Where it leads.
        """
        if call.task is not None or not self._keeps:
            return self._keeps
        # A modern server decides itself about its tasks; and a call that is repeated began without one.
        return route.task != "extension" and call.capabilities.tasks and call.inputs is None

    async def begin(self, call: Call, route: Route, work: Work) -> Outcome:
        """Make a task of a call; return the task, or what became of the call if that is known at once.

        Args:
            call: The call.
            route: Where it leads.
            work: Answers it, whatever it takes.

        Raises:
            ProtocolError: The call itself is wrong.
            UpstreamError: The server could not be asked.
        """
        held = self._holding.begin(call, work)
        if held is None:
            # A modern client has to be content with a result (TK-01), one of 2025-11-25 has not (TK-07).
            return await work(call) if call.task is None else internal("Too many tasks are kept; try again later")
        try:
            outcome = await held.at_once()
        except asyncio.CancelledError:
            await self._holding.drop(held)
            raise
        if outcome is not None and (call.task is None or isinstance(outcome, Failure)):
            await self._holding.drop(held)
            return outcome
        return self._created(call, route, held)

    def passed(self, call: Call, route: Route, members: Members) -> Outcome:
        """Return what a client that follows tasks is told of the task with which a modern server answered its call.

        Raises:
            UpstreamProtocolError: The answer is malformed.
        """
        own = msgspec.json.decode(members["taskId"])
        token = self._sealer.seal(Handle(call.endpoint, call.principal.id, route.server.name, str(own)))
        return passed(call, token, route.server, members, route.renamed)

    async def answer(self, call: Call, running: Running) -> Outcome:
        """Answer a request about a task.

        Args:
            call: The request; its target is the task's id.
            running: The namespace of its endpoint.

        Raises:
            ProtocolError: The client did not declare the extension, or the request is malformed.
            UpstreamError: The server could not be asked.
        """
        legacy = call.session is not None
        if not legacy and not call.capabilities.tasks:
            needed: Any = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
            raise ProtocolError(MISSING_CAPABILITY, f"{call.method} needs the extension {TASKS}", needed)
        handle = self.opened(call, call.target)
        if handle is None:
            return UNKNOWN
        call.server = handle.server
        if handle.owner:
            try:
                return await (self._to_legacy(call, handle) if legacy else self._to_modern(call, handle))
            except Unknown:
                return UNKNOWN
            except BusUnavailable:
                return internal(f"The task cannot be reached now: {UNREACHABLE}")
            except MessageTooLarge as error:
                return internal(str(error))
        # How it ends would be told without the middlewares that came since it began.
        past_middlewares = running.chain is not None and running.chain.concerns("tools/call")
        servers = [catalogue.server for catalogue in running.catalogues if catalogue.server.name == handle.server]
        if legacy or past_middlewares or not servers:
            return UNKNOWN
        return await passed_back(call, handle.id, servers[0], running)

    def opened(self, call: Call, token: str) -> Handle | None:
        """Return what the id of a task says, ``None`` when it is not one of the caller's, on its endpoint."""
        handle = self._sealer.open(token)
        if handle is None or (handle.endpoint, handle.principal) != (call.endpoint, call.principal.id):
            return None
        return handle

    def listening(self, call: Call, running: Running, tell: Tell) -> Listening:
        """Return what tells a client of its tasks; see ``Listening``."""
        return Listening(self._holding, call, running, tell)

    async def aclose(self) -> None:
        """End the tasks of this process."""
        await self._holding.aclose()

    def _created(self, call: Call, route: Route, held: Held) -> Outcome:
        handle = self._holding.keep(held, route.server.name, call.task)
        token, state = self._sealer.seal(handle), held.state()
        if call.task is not None:
            return Result(b"", {"task": Raw(encode(as_of_2025(token, handle, state)))})
        # The seed has no results and no questions: those are for tasks/get.
        seed = as_extension(token, handle, State(state.updated, state.message))
        return Result(b"", {"resultType": _TASK, **seed})

    async def _to_modern(self, call: Call, handle: Handle) -> Outcome:
        if call.method == "tasks/cancel":
            await self._holding.cancel(handle)
            return Result(b"", {"resultType": _COMPLETE})
        if call.method == "tasks/update":
            try:
                given = decode_client(call.params.get("inputResponses", Raw(b"null")))
            except msgspec.ValidationError:
                raise ProtocolError(INVALID_PARAMS, "params.inputResponses must be an object of objects") from None
            await self._holding.answer(handle, given)
            return Result(b"", {"resultType": _COMPLETE})
        state = await self._holding.look(handle)
        shown = as_extension(call.target, handle, state)
        if state.questions and not state.over:
            if isinstance(told := inputs(call, state.asked()), Failure):
                return told
            shown["inputRequests"] = told
        return Result(b"", {"resultType": _COMPLETE, **shown})

    async def _to_legacy(self, call: Call, handle: Handle) -> Outcome:
        if call.method == TASK_RESULT:
            return await self._result(call, handle)
        if call.method == "tasks/cancel":
            state = await self._holding.cancel(handle)
            if state.over:
                return Failure(INVALID_PARAMS, "The task has ended already, so it cannot be cancelled")
            state = State(state.updated, state.message, cancelled=True)
        else:
            state = await self._holding.look(handle)
        return Result(b"", as_of_2025(call.target, handle, state))

    async def _result(self, call: Call, handle: Handle) -> Outcome:
        """Wait for what becomes of a task, and have its client answer what it asks until then (TK-07)."""
        asking: dict[str, asyncio.Task[None]] = {}
        try:
            async with aclosing(self._holding.follow(handle)) as states:
                async for state in states:
                    if state.over:
                        outcome = state.outcome()
                        if isinstance(outcome, Result):
                            return Result(b"", related(outcome.split(), call.target))
                        return outcome
                    for key in asking.keys() - state.questions.keys():
                        asking.pop(key).cancel()
                    for key, question in state.asked().items():
                        if key not in asking and call.ask is not None:
                            asking[key] = asyncio.create_task(self._ask(call, handle, key, question))
            raise Unknown
        finally:
            for task in asking.values():
                task.cancel()
            await asyncio.gather(*asking.values(), return_exceptions=True)

    async def _ask(self, call: Call, handle: Handle, key: str, question: Question) -> None:
        assert call.ask is not None
        answer = await call.ask(question)
        if answer.ours:
            return  # the client is not there, but may come back and be asked then
        await self._holding.settle(handle, key, answer)
