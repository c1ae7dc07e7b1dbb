"""Questions to legacy clients: requests of ours on the stream of the client's own request (T-61), and their answers.

The client may POST its answer on any connection, so to any process: the id of a question names the process that waits
for it. Knows nothing of what is asked.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct

from metamcp_asgi.bus.protocol import Bus, OwnerLost
from metamcp_asgi.downstream.reply import Outlet
from metamcp_asgi.downstream.sessions import ClientSession
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.downgrade_questions import question_for
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, ErrorObject, Message, encode
from metamcp_asgi.protocol.meta import RELATED_TASK
from metamcp_asgi.protocol.outcome import Failure
from metamcp_asgi.upstream.request import Answer, Ask, Question

__all__ = ["ANSWER_SECONDS", "Asking"]

ANSWER_SECONDS: Final = 900.0
"""How long a client may take for an answer; people think, but nobody thinks for ever (CN-03)."""
MAX_PENDING: Final = 16
"""How many questions one session may have open at a time, in this process."""

_KIND: Final = "legacy.answer"
_PREFIX: Final = "gw-"


class _Posted(Struct, array_like=True):
    """An answer on its way to the process that asked; ``message`` is the response as the client sent it."""

    session: ClientSession
    request_id: str
    message: Message


class _Pending(Struct, eq=False):
    session: ClientSession
    answer: asyncio.Future[Answer]


class Asking:
    """The questions that wait for an answer.

    Args:
        bus: Leads to the processes that asked.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._pending: dict[str, _Pending] = {}
        self._open: dict[bytes, int] = {}
        bus.serve(_KIND, self._arrived)

    def asker(self, session: ClientSession, outlet: Outlet, task: str | None = None) -> Ask:
        """Return what puts questions to the client of a request.

        Args:
            session: The client's session, the only one that may answer.
            outlet: Where the client reads what belongs to its request.
            task: The id of the task that asks, if it is one that does.
        """
        return partial(self._ask, session, outlet, task)

    async def answered(self, session: ClientSession, response: Message) -> None:
        """Take a response that a client POSTed; one that nobody waits for is dropped, as races are normal (CN-02).

        Raises:
            BusUnavailable: The process that waits for it cannot be reached.
        """
        request_id = response.id
        if not isinstance(request_id, str) or not request_id.startswith(_PREFIX):
            return
        owner = request_id[len(_PREFIX) :].rpartition("-")[0]
        if owner == self._bus.name:
            self._take(_Posted(session, request_id, response))
        elif owner and not self._bus.alone:
            try:
                await self._bus.tell(owner, _KIND, encode(_Posted(session, request_id, response)))
            except OwnerLost:
                return  # and its question with it

    async def _ask(self, session: ClientSession, outlet: Outlet, task: str | None, question: Question) -> Answer:
        if self._open.get(session.sid, 0) >= MAX_PENDING:
            return _failed("The client has too many questions to answer already")
        try:
            params = question_for(session.revision, question.method, question.params)
        except msgspec.ValidationError as error:
            return Answer(failure=Failure(INVALID_PARAMS, f"Invalid params: {error}"))
        if params is None:
            return _inexpressible(question.method)
        if task is not None:
            params = _related(params, task)
        request_id = f"{_PREFIX}{self._bus.name}-{secrets.token_hex(16)}"
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = _Pending(session, answer)
        self._open[session.sid] = self._open.get(session.sid, 0) + 1
        release = outlet.hold(partial(_settle, answer, _failed("The client has left")))
        outlet.ask(jsonrpc.request(request_id, question.method, bytes(params)))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            outlet.notify(_cancelled(request_id, "No answer in time"))
            return _failed("The client has not answered in time")
        except asyncio.CancelledError:
            outlet.notify(_cancelled(request_id, "No longer wanted"))
            raise
        finally:
            release()
            del self._pending[request_id]
            self._open[session.sid] -= 1
            if not self._open[session.sid]:
                del self._open[session.sid]

    def _take(self, posted: _Posted) -> None:
        pending = self._pending.get(posted.request_id)
        # An id is a name and no authority: whoever knows it must also be the one who was asked (SB-05).
        if pending is not None and pending.session == posted.session:
            _settle(pending.answer, _read(posted.message))

    async def _arrived(self, message: bytes) -> AsyncIterator[bytes]:
        self._take(msgspec.json.decode(message, type=_Posted))
        return
        yield b""


def _read(response: Message) -> Answer:
    if response.error is not UNSET:
        try:
            error = msgspec.json.decode(response.error, type=ErrorObject)
        except msgspec.ValidationError:
            return _failed("The client answered with a malformed error")
        data = error.data if error.data is not UNSET else None
        return Answer(failure=Failure(error.code, error.message, data))
    if response.result is UNSET or bytes(response.result).lstrip()[:1] != b"{":
        return _failed("The client's answer has no result")
    return Answer(result=Raw(bytes(response.result)))


def _related(params: Raw, task: str) -> Raw:
    """Return the params of a question with the mark that ties it to the task that asks (TK-07)."""
    members = jsonrpc.decode_members(params)
    meta = jsonrpc.decode_members(members.get("_meta", Raw(b"{}")))
    return Raw(encode({**members, "_meta": {**meta, RELATED_TASK: {"taskId": task}}}))


def _settle(future: asyncio.Future[Answer], answer: Answer) -> None:
    if not future.done():
        future.set_result(answer)


def _inexpressible(method: str) -> Answer:
    """Answer, for the client, a question that its revision has no words for (eras.md 2.17)."""
    if method == "elicitation/create":
        return Answer(result=Raw(b'{"action":"decline"}'))
    return Answer(failure=Failure(INVALID_PARAMS, "The client's revision cannot express the question"))


def _failed(reason: str) -> Answer:
    return Answer(failure=Failure(INTERNAL_ERROR, reason), ours=True)


def _cancelled(request_id: str, reason: str) -> bytes:
    return jsonrpc.notification("notifications/cancelled", encode({"requestId": request_id, "reason": reason}))
