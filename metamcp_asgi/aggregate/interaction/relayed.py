"""A server's questions in the middle of a call, put to the legacy client that has made it (eras.md 2.6)."""

import logging
import os
from functools import partial
from typing import Final

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.pages import Pages
from metamcp_asgi.aggregate.interaction.questions import again, page_of, presented, unfitting
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS
from metamcp_asgi.protocol.outcome import Failure
from metamcp_asgi.upstream.request import Answer, Question

__all__ = ["Relayed"]

logger = logging.getLogger("metamcp.interaction")

TRIES: Final = 3
"""How often a form is shown to a client whose answers do not fit it; it checks none, or its user is no help."""


class Relayed:
    """The questions of one call.

    Args:
        call: The call; its client can be asked.
        server: Who asks, which the client is told.
        pages: Hears of it when the user is through with a page.
    """

    def __init__(self, call: Call, server: str, pages: Pages) -> None:
        self._call = call
        self._server = server
        self._pages = pages
        self._ids: dict[str, str] = {}

    async def ask(self, question: Question) -> Answer:
        """Return the client's answer; to a form, one that fits it."""
        call = self._call
        assert call.ask is not None
        call.asked = True
        shown = presented(question, self._server, self._identified(question))
        reason = ""
        for _ in range(TRIES):
            answer = await call.ask(again(shown, reason) if reason else shown)
            if answer.result is None or not (reason := unfitting(question, answer.result)):
                return answer
            logger.info("%s answered a form of %s with what does not fit: %s", call.principal.id, self._server, reason)
        return Answer(failure=Failure(INVALID_PARAMS, f"The client's answer does not fit the form: {reason}"))

    def through(self, url: str) -> None:
        """Tell the client that its user is through with a page, as the server no longer asks for it."""
        elicitation_id = self._ids.pop(url, None)
        if elicitation_id is not None and self._call.page_done is not None:
            self._call.page_done(elicitation_id)

    def _identified(self, question: Question) -> str | None:
        """Return the id of ours under which the client may later hear that its user is through with a page."""
        page = page_of(question)
        if page is None or self._call.page_done is None:
            return None
        own = self._ids[page.url] = os.urandom(16).hex()
        if page.elicitation_id:
            self._pages.expect(self._server, page.elicitation_id, partial(self._call.page_done, own))
        return own
