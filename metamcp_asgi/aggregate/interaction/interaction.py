"""Has a server answer a call whose client can be asked: the four combinations of eras (eras.md 2.6).

============= ============================================ =================================================
client        legacy server                                modern server
============= ============================================ =================================================
modern        its call is parked until the client is back  its ``requestState`` is wrapped; nothing is kept
legacy        its questions are relayed                    the client is asked, then the call is repeated
============= ============================================ =================================================
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from metamcp_asgi.aggregate.call import Call, Inputs
from metamcp_asgi.aggregate.interaction.pages import URL_REQUIRED, Page, Pages, in_words, pages_of
from metamcp_asgi.aggregate.interaction.parking import Parking, Waiting
from metamcp_asgi.aggregate.interaction.questions import ELICIT, presented
from metamcp_asgi.aggregate.interaction.relayed import Relayed
from metamcp_asgi.aggregate.interaction.rounds import ask_and_repeat
from metamcp_asgi.aggregate.interaction.state import State, States, invalid
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.metrics.sheet import uncounted
from metamcp_asgi.protocol.jsonrpc import MISSING_CAPABILITY, Members, encode
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, internal, tool_error
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.upstream.request import Question

__all__ = ["Interaction", "Send"]

MAX_ROUNDS: Final = 10
"""How often a call may be repeated because a page has to be opened."""
PAGE_SECONDS: Final = 25.0
"""How long a client that has sent its user to a page waits for the server to notice that, before it is asked again."""
FIRST_PAUSE: Final = 1.0
"""Seconds before a server that has not noticed is asked again, doubled each time; it may say so sooner."""

Send: TypeAlias = Callable[[Call, Route], Awaitable[Outcome]]


class Interaction:
    """Asks servers on behalf of clients that can be asked.

    Args:
        keys: Seal what a modern client carries between two rounds.
        bus: Reaches the other processes.
        seconds: How long a client has for an answer.
        grace: Seconds that a call may take to finish when the process ends.
        parks: Whether a legacy server's call waits for a modern client. Where that could come back to a process that
            cannot reach this one, it does not, and such a server is told that its client cannot be asked.
        parked: Is told of one parked call more, or of one less.
    """

    def __init__(
        self,
        keys: KeyRing,
        bus: Bus,
        seconds: float,
        grace: float,
        *,
        parks: bool = True,
        parked: Callable[[int], object] = uncounted,
    ) -> None:
        self.pages = Pages(bus)
        self._parks = parks
        self._states = States(keys.sealer("g1", State), seconds)
        self._parking = Parking(self._states, bus, grace, parked)

    async def send(self, call: Call, route: Route, send: Send) -> Outcome:
        """Have a server answer a call, in its first round or a later one.

        Args:
            call: The call, of a client that can be asked, or that repeats a call.
            route: Where it leads.
            send: Has the server answer a call.

        Returns:
            What became of it; ``InputRequired`` for modern clients only.

        Raises:
            ProtocolError: What a repeated call brings along is not valid.
            UpstreamError: The server could not be asked.
        """
        server = route.server.name
        if call.ask is not None:
            relayed = Relayed(call, server, self.pages)
            asked = msgspec.structs.replace(call, ask=relayed.ask)
            outcome = await ask_and_repeat(asked, server, lambda each: send(each, route), relayed.through)
            return self._page_told(call, outcome, server)
        if call.inputs is None:
            return await self._first(call, route, send)
        state = self._states.open(call)
        if state.server != server:
            raise invalid(call, f"it was given out by server {state.server}")
        if state.kind == "parked":
            outcome = await self._parking.resume(call, state)
            return outcome if isinstance(outcome, InputRequired) else self._shown(call, outcome, server, state.round)
        if state.kind == "url":
            if _declined(call.inputs):
                text = "The user did not open the page that the server asks for"
                return tool_error(text, "refused") if call.method == "tools/call" else internal(text)
            return await self._after_page(call, route, send, state)
        params = {**call.params, "inputResponses": Raw(encode(call.inputs.responses))}
        if state.inner is not None:
            params["requestState"] = Raw(encode(state.inner))
        outcome = await send(msgspec.structs.replace(call, params=params), route)
        return self._shown(call, outcome, server, state.round)

    async def aclose(self) -> None:
        """End the calls that wait for an answer."""
        await self._parking.aclose()
        await self.pages.aclose()

    async def _first(self, call: Call, route: Route, send: Send) -> Outcome:
        return self._shown(call, await self._begun(call, route, send), route.server.name, 0)

    async def _begun(self, call: Call, route: Route, send: Send) -> Outcome:
        peer = route.server.peer
        if not (call.capabilities.interactive and self._parks) or (peer is not None and peer.era == "modern"):
            return await send(call, route)
        return await self._parking.begin(call, route.server.name, lambda each: send(each, route))

    async def _after_page(self, call: Call, route: Route, send: Send, state: State) -> Outcome:
        """Repeat a call whose user was sent to a page until the server has noticed, for a while.

        Whoever accepts has opened the page, and may still have something to do there. The server has refused the call,
        so it does no harm to ask again.
        """
        server, loop, through = route.server.name, asyncio.get_running_loop(), asyncio.Event()
        give_up, pause = loop.time() + PAGE_SECONDS, FIRST_PAUSE
        with self.pages.waiting(through) as add:
            add(state.pages)
            while True:
                outcome = await self._begun(call, route, send)
                pages = _pages_first(outcome)
                left = give_up - loop.time()
                if not pages or left <= 0 or not {page.place for page in pages} <= set(state.places):
                    return self._shown(call, outcome, server, state.round)
                add(self._expected(server, pages))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(pause, left)):
                        await through.wait()
                through.clear()
                pause *= 2

    def _shown(self, call: Call, outcome: Outcome, server: str, round_: int) -> Outcome:
        """Return an outcome as a modern client may see it."""
        if isinstance(outcome, Failure) and outcome.code == URL_REQUIRED:
            return self._page_first(call, outcome, server, round_)
        if not isinstance(outcome, InputRequired) or isinstance(outcome, Waiting):
            return outcome
        state = self._states.seal(call, "wrapped", round_ + 1, server, inner=outcome.state)
        return InputRequired(_named(outcome.requests, server), state)

    def _page_first(self, call: Call, failure: Failure, server: str, round_: int) -> Outcome:
        pages = pages_of(failure)
        if not pages:
            return in_words(call, failure, server)
        if not call.capabilities.url:
            needed: Any = {"requiredCapabilities": {"elicitation": {"url": {}}}}
            return Failure(MISSING_CAPABILITY, f"Server {server!r} sends the user to a page: {failure.message}", needed)
        if round_ >= MAX_ROUNDS:
            text = f"Server {server!r} still sends the user to a page after {MAX_ROUNDS} rounds"
            return tool_error(text) if call.method == "tools/call" else internal(text)
        requests: Members = {}
        for number, page in enumerate(pages, 1):
            params = Raw(encode({"mode": "url", "message": page.message, "url": page.url}))
            requests[f"u{number}"] = Raw(encode({"method": ELICIT, "params": params}))
        places = {page.place for page in pages}
        state = self._states.seal(call, "url", round_ + 1, server, places=places, pages=self._expected(server, pages))
        return InputRequired(_named(requests, server), state)

    def _page_told(self, call: Call, outcome: Outcome, server: str) -> Outcome:
        """Return an outcome as a legacy client may see it: the error of 2025-11-25 only where it is understood."""
        if not isinstance(outcome, Failure) or outcome.code != URL_REQUIRED:
            return outcome
        pages = pages_of(outcome)
        if not call.capabilities.url or not pages:
            return in_words(call, outcome, server)
        for page in pages:
            if page.elicitation_id and call.page_done is not None:
                self.pages.expect(server, page.elicitation_id, partial(call.page_done, page.elicitation_id))
        return outcome

    def _expected(self, server: str, pages: Sequence[Page]) -> Sequence[bytes]:
        return [self.pages.expect(server, page.elicitation_id) for page in pages if page.elicitation_id]


def _pages_first(outcome: Outcome) -> Sequence[Page]:
    """Return the pages that a server wants opened before it answers."""
    return pages_of(outcome) if isinstance(outcome, Failure) and outcome.code == URL_REQUIRED else ()


def _named(requests: Members, server: str) -> Members:
    shown: Members = {}
    for key, request in requests.items():
        question = presented(msgspec.json.decode(request, type=Question), server)
        shown[key] = Raw(encode({"method": question.method, "params": question.params}))
    return shown


def _declined(inputs: Inputs) -> bool:
    given: list[Any] = [msgspec.json.decode(answer) for answer in inputs.responses.values()]
    return any(isinstance(each, dict) and each.get("action") in ("decline", "cancel") for each in given)
