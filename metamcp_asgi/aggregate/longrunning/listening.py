"""Tells a client how its tasks are, on the stream on which it listens (SU-05, SEP-2663 "Task Status Notifications").

Of a modern server's tasks, it hears what the server tells, on a stream of the same kind to there; of a task of ours, it
hears whenever that changes.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.longrunning.holding import Holding, Unknown
from metamcp_asgi.aggregate.longrunning.passing import inputs, passed, passed_back
from metamcp_asgi.aggregate.longrunning.state import Handle, State, as_extension
from metamcp_asgi.aggregate.namespace import Running
from metamcp_asgi.bus.protocol import BusUnavailable
from metamcp_asgi.errors import UpstreamError
from metamcp_asgi.protocol.jsonrpc import Members, decode_members, encode
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream.interface import Server
from metamcp_asgi.upstream.request import ACKNOWLEDGED, Request

__all__ = ["NOTIFICATION", "Listening", "Tell"]

NOTIFICATION: Final = "notifications/tasks"
PAUSES: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before a server that ended its stream is asked again; the last one counts for all further times."""

Tell = Callable[[Members], None]
"""Gets a task as its client is told of it."""


class Listening:
    """The tasks of which one client hears.

    Args:
        holding: The tasks of ours.
        call: The client's request.
        running: The namespace of its endpoint.
        tell: Gets each task that is different now.
    """

    def __init__(self, holding: Holding, call: Call, running: Running, tell: Tell) -> None:
        self._holding = holding
        self._call = call
        self._running = running
        self._tell = tell
        self._tasks = Tasks()

    async def begin(self, handles: Mapping[str, Handle]) -> list[str]:
        """Begin to listen; return the tasks of which the client will hear.

        Args:
            handles: What the ids of the tasks say, all of them this client's.
        """
        theirs: dict[str, dict[str, str]] = {}
        heard: list[asyncio.Future[list[str]]] = []
        for token, handle in handles.items():
            if handle.owner:
                found: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
                self._tasks.start(self._follow(token, handle, found), "follow a task")
                heard.append(found)
            else:
                theirs.setdefault(handle.server, {})[handle.id] = token
        chain = self._running.chain
        for catalogue in self._running.catalogues:
            # With middlewares, how a server's task ends must not be told without them.
            if (tokens := theirs.get(catalogue.server.name)) and (chain is None or not chain.concerns("tools/call")):
                stream = _Stream(self._call, self._running, catalogue.server, tokens, self._tell)
                self._tasks.start(stream.keep(), f"listen to tasks of {catalogue.server.name}")
                heard.append(stream.honoured)
        return [token for tokens in await asyncio.gather(*heard) for token in tokens]

    async def aclose(self) -> None:
        """Hear no more."""
        await self._tasks.aclose()

    async def _follow(self, token: str, handle: Handle, found: asyncio.Future[list[str]]) -> None:
        try:
            async with aclosing(self._holding.follow(handle)) as states:
                async for state in states:
                    if not found.done():
                        found.set_result([token])
                    self._told(token, handle, state)
        except (Unknown, BusUnavailable):
            if not found.done():
                found.set_result([])

    def _told(self, token: str, handle: Handle, state: State) -> None:
        task = as_extension(token, handle, state)
        if state.questions and not state.over:
            if isinstance(asked := inputs(self._call, state.asked()), Failure):
                return  # tasks/get says why
            task["inputRequests"] = asked
        self._tell(task)


class _Stream:
    """The tasks of one server.

    Args:
        call: The client's request.
        running: The namespace of its endpoint.
        server: The server.
        tokens: The ids that the client knows, by the server's own.
        tell: Gets each task that is different now.
    """

    def __init__(self, call: Call, running: Running, server: Server, tokens: Mapping[str, str], tell: Tell) -> None:
        self.honoured: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._call = call
        self._running = running
        self._server = server
        self._tokens = tokens
        self._tell = tell
        self._missed = asyncio.Event()

    async def keep(self) -> None:
        """Listen, and listen again when the stream has ended; what was missed meanwhile is asked for."""
        attempt = 0
        while True:
            listening = asyncio.ensure_future(self._listen())
            try:
                if self.honoured.done():
                    asking = asyncio.ensure_future(self._missed.wait())
                    await asyncio.wait({listening, asking}, return_when=asyncio.FIRST_COMPLETED)
                    asking.cancel()
                    if self._missed.is_set():
                        attempt = 0
                        await self._catch_up()
                await listening
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
            if not self.honoured.done():
                self.honoured.set_result([])
            if not self.honoured.result():
                return
            self._missed.clear()
            await asyncio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1

    async def _listen(self) -> None:
        call = self._call
        wanted = {"notifications": Raw(encode({"taskIds": list(self._tokens)}))}
        request = Request(
            call.method, wanted, hops=self._running.hops, capabilities=call.capabilities, on_event=self._take
        )
        try:
            await self._server.send(request, call.affinity)
        except UpstreamError:
            return  # the server is asked again, for as long as the client listens

    def _take(self, method: str, params: Raw | UnsetType) -> None:
        if method == ACKNOWLEDGED:
            if self.honoured.done():
                self._missed.set()
            else:
                self.honoured.set_result([self._tokens[own] for own in _honoured(params) if own in self._tokens])
        elif method == NOTIFICATION and params is not UNSET:
            try:
                task = decode_members(params)
                token = self._tokens.get(msgspec.json.decode(task["taskId"], type=str))
                if token is None:
                    return
                task.pop("_meta", None)
                renamed = self._running.renamed(self._server)
                self._told(passed(self._call, token, self._server, task, renamed))
            except (msgspec.DecodeError, KeyError, UpstreamError):
                return  # it is no task; tasks/get will say so

    async def _catch_up(self) -> None:
        for own, token in self._tokens.items():
            call = msgspec.structs.replace(self._call, method="tasks/get", params={}, target=token)
            try:
                self._told(await passed_back(call, own, self._server, self._running))
            except UpstreamError:
                return

    def _told(self, outcome: Outcome) -> None:
        if isinstance(outcome, Result):
            hidden = ("resultType", "_meta")
            self._tell({name: value for name, value in outcome.split().items() if name not in hidden})


class _Filter(Struct, frozen=True):
    taskIds: list[str] = []  # noqa: N815


class _Acknowledged(Struct):
    notifications: _Filter = _Filter()


def _honoured(params: Raw | UnsetType) -> list[str]:
    try:
        return msgspec.json.decode(b"{}" if params is UNSET else params, type=_Acknowledged).notifications.taskIds
    except msgspec.DecodeError:
        return []
