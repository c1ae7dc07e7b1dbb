"""What a legacy server asks in one session, and of which request: nobody is ever asked on behalf of another.

A question that came on a request's own stream belongs to that request. Where the transport has no such streams,
it belongs to the one request in flight that can be asked; when there are several, or none, nobody is (trap 3).
Knows neither transports nor how a question is answered, which is the matter of ``Request.ask``.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from metamcp_asgi.errors import UpstreamError
from metamcp_asgi.protocol import jsonrpc
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, Message, RequestId
from metamcp_asgi.protocol.outcome import Failure
from metamcp_asgi.protocol.revisions import LATEST_LEGACY, NAME_OF, TASK_RESULT
from metamcp_asgi.tasks import Tasks
from metamcp_asgi.upstream import questions
from metamcp_asgi.upstream.request import Answer, Question, Request, Terms

__all__ = ["Dialogue", "Turn", "cancellation"]

logger = logging.getLogger("metamcp.upstream")

ROOTS_WAIT: Final = 2.0
"""Seconds that ``roots/list`` waits for a request to which it can belong: some servers ask right at the start."""
MAX_OPEN: Final = 64
"""How many questions of one session may be open at once."""

_ASKING: Final = frozenset({*NAME_OF, TASK_RESULT})
_PONG: Final = b"{}"
_ROOTS_CHANGED: Final = jsonrpc.notification("notifications/roots/list_changed")
_DEFECT: Final = Answer(failure=Failure(INTERNAL_ERROR, "The client could not be asked"))
_TOO_MANY: Final = Answer(failure=Failure(INTERNAL_ERROR, f"More than {MAX_OPEN} questions are open"))


class Turn:
    """One request in flight."""

    __slots__ = ("eligible", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.eligible = request.ask is not None and request.method in _ASKING
        """Whether the client can be asked in the course of it (MR-01, SEP-2260)."""


class _Open(Struct, gc=False):
    """A question that is being answered, or ``roots/list`` that waits for a request: it has no turn yet."""

    method: str
    task: asyncio.Task[None]
    turn: Turn | None


class Dialogue:
    """The questions of one session's server.

    Args:
        terms: What was declared to the server.
        send: Sends one message; may raise ``UpstreamError``.
    """

    __slots__ = ("_capabilities", "_open", "_roots_changed", "_send", "_tasks", "_turns", "revision")

    def __init__(self, terms: Terms, send: Callable[[bytes], Awaitable[None]]) -> None:
        self.revision = LATEST_LEGACY
        """The server's, once it has told; it is answered in the words of that."""
        self._capabilities = terms.capabilities
        self._send = send
        self._open: dict[RequestId, _Open] = {}
        self._turns: set[Turn] = set()
        self._roots_changed = False
        self._tasks = Tasks()

    def begin(self, request: Request) -> Turn | None:
        """Note that a request is sent, if it can be asked; ``roots/list`` may have waited for it."""
        if not self._capabilities.interactive:
            return None
        turn = Turn(request)
        self._turns.add(turn)
        if turn.eligible:
            if self._roots_changed:
                self._say(_ROOTS_CHANGED)
                self._roots_changed = False
            for number, waiting in list(self._open.items()):
                if waiting.turn is None:
                    waiting.task.cancel()
                    self._ask(turn, number, Question(waiting.method))
        return turn

    def roots_changed(self) -> None:
        """Tell the server that the client's roots have changed: at once, or when the next request is sent.

        It is going to ask for them, and a client can only be asked in the course of a request (SEP-2260). In between,
        the server would have to be told that there are none.
        """
        if not self._capabilities.roots_change:
            return
        if any(turn.eligible for turn in self._turns):
            self._say(_ROOTS_CHANGED)
        else:
            self._roots_changed = True

    def end(self, turn: Turn | None) -> list[bytes]:
        """Note that a request is over.

        Returns:
            What is still to be sent: the withdrawals of its open questions. A second call returns nothing.
        """
        if turn is None or turn not in self._turns:
            return []
        self._turns.discard(turn)
        left = [(number, each) for number, each in self._open.items() if each.turn is turn]
        for number, each in left:
            del self._open[number]
            each.task.cancel()
        return [questions.response(number, questions.withdrawal(each.method)) for number, each in left]

    def asked(self, message: Message, turn: Turn | None = None) -> None:
        """Take a request of the server.

        Args:
            message: The request.
            turn: On whose stream it came; ``None`` where that says nothing.
        """
        number, method = message.id, message.method
        if not isinstance(number, int | str) or method is UNSET or number in self._open:
            return
        if method == "ping":
            self._say(jsonrpc.response(number, _PONG))
            return
        refused = questions.refusal(self._capabilities, method, message.params)
        turn = turn or self._only()
        if refused is not None:
            self._say(questions.response(number, Answer(failure=refused)))
        elif len(self._open) >= MAX_OPEN:
            self._say(questions.response(number, _TOO_MANY))
        elif turn is not None and turn.eligible:
            self._ask(turn, number, Question(method, Raw(b"{}") if message.params is UNSET else message.params))
        elif method == "roots/list":
            self._open[number] = _Open(method, self._tasks.start(self._wait(number), "wait for a request"), None)
        else:
            self._say(questions.response(number, questions.UNRELATED))

    def cancelled(self, params: Raw | UnsetType) -> None:
        """Take ``notifications/cancelled``: the server no longer wants to know, and gets no answer (CN-02)."""
        try:
            told = msgspec.json.decode(b"{}" if params is UNSET else params, type=_Cancelled)
        except msgspec.DecodeError:
            return
        if told.requestId is not None and (question := self._open.pop(told.requestId, None)) is not None:
            question.task.cancel()

    async def deliver(self, messages: list[bytes]) -> None:
        """Send messages of which nobody waits for the effect."""
        try:
            for message in messages:
                await self._send(message)
        except UpstreamError as error:
            logger.debug("Could not deliver a message to a server: %s", error)

    async def aclose(self) -> None:
        """Forget all that is open."""
        self._open.clear()
        await self._tasks.aclose()

    def _only(self) -> Turn | None:
        eligible = [turn for turn in self._turns if turn.eligible]
        return eligible[0] if len(eligible) == 1 else None

    def _ask(self, turn: Turn, number: RequestId, question: Question) -> None:
        task = self._tasks.start(self._answer(turn, number, question), f"answer {question.method}")
        self._open[number] = _Open(question.method, task, turn)

    async def _answer(self, turn: Turn, number: RequestId, question: Question) -> None:
        assert turn.request.ask is not None
        try:
            answer = questions.worded(await turn.request.ask(question), question.method, self.revision)
        except Exception:  # the server waits for an answer, whatever went wrong on our side
            logger.exception("Asking for %s failed", question.method)
            answer = _DEFECT
        await self._close(number, answer)

    async def _wait(self, number: RequestId) -> None:
        await asyncio.sleep(ROOTS_WAIT)
        await self._close(number, questions.NO_ROOTS)

    async def _close(self, number: RequestId, answer: Answer) -> None:
        """Answer the question that the current task is about, unless it was withdrawn or cancelled meanwhile."""
        question = self._open.get(number)
        if question is not None and question.task is asyncio.current_task():
            del self._open[number]
            await self.deliver([questions.response(number, answer)])

    def _say(self, message: bytes) -> None:
        self._tasks.start(self.deliver([message]), "answer a server")


class _Cancelled(Struct):
    requestId: RequestId | None = None  # noqa: N815


def cancellation(number: int) -> bytes:
    """Return the notification that cancels our request ``number``."""
    return jsonrpc.notification("notifications/cancelled", b'{"requestId":%d,"reason":"cancelled"}' % number)
