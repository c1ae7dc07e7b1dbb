"""The open questions of one call that runs while its client is away, and their answers, whenever they come."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from metamcp_asgi.aggregate.interaction.questions import answer_of
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, Members
from metamcp_asgi.upstream.questions import withdrawal
from metamcp_asgi.upstream.request import Answer, Question

__all__ = ["MAX_OPEN", "OpenQuestions"]

MAX_OPEN: Final = 32
"""How many questions one call may have open."""


class OpenQuestions:
    """The questions, each under a key that is never used again.

    Args:
        changed: Is called when there is one more, or one less.
    """

    __slots__ = ("_changed", "_number", "_open")

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._open: dict[str, tuple[Question, asyncio.Future[Answer]]] = {}
        self._number = 0

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    async def ask(self, question: Question) -> Answer:
        """Wait for the answer to a question; cancelled when the server no longer wants to know."""
        self._number += 1
        key = f"k{self._number}"
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._open[key] = question, future
        self._changed()
        try:
            return await future
        finally:
            self._close(key)

    def shown(self) -> dict[str, Question]:
        """Return what is open, by key."""
        return {key: question for key, (question, _) in self._open.items()}

    def answer(self, given: Members) -> None:
        """Answer what is answered; what is not open is ignored (MR-05).

        Raises:
            ProtocolError: An answer is malformed; then nothing is answered.
        """
        answers: dict[str, Answer] = {}
        for key, value in given.items():
            if key in self._open:
                try:
                    answers[key] = answer_of(self._open[key][0], value)
                except ValueError as error:
                    raise ProtocolError(INVALID_PARAMS, f"inputResponses.{key}: {error}") from None
        self.settle(answers)

    def settle(self, answers: Mapping[str, Answer]) -> None:
        """Take answers as they are; what is not open is ignored."""
        for key, answer in answers.items():
            if key in self._open:
                future = self._open[key][1]
                self._close(key)
                if not future.done():
                    future.set_result(answer)

    def abandon(self) -> None:
        """Answer all that is open as if the client had cancelled."""
        self.settle({key: withdrawal(question.method) for key, (question, _) in self._open.items()})

    def _close(self, key: str) -> None:
        if self._open.pop(key, None) is not None:
            self._changed()
