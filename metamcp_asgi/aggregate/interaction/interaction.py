"""Has a server answer a call whose client can be asked: the four combinations of eras (eras.md 2.6).

============= ============================================ =================================================
client        legacy server                                modern server
============= ============================================ =================================================
modern        its call is parked until the client is back  its ``requestState`` is wrapped; nothing is kept
legacy        its questions are relayed                    the client is asked, then the call is repeated
============= ============================================ =================================================
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from metamcp_asgi.aggregate.call import Call, Inputs
from metamcp_asgi.aggregate.interaction.parking import Parking, Waiting
from metamcp_asgi.aggregate.interaction.questions import ELICIT, presented
from metamcp_asgi.aggregate.interaction.rounds import ask_and_repeat
from metamcp_asgi.aggregate.interaction.state import State, States, invalid
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.protocol.jsonrpc import MISSING_CAPABILITY, Members, encode
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, internal, tool_error
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.upstream.request import Answer, Question

__all__ = ["URL_REQUIRED", "Interaction"]

URL_REQUIRED: Final = -32042
"""URLElicitationRequiredError of 2025-11-25: the user has to open a page first, then the call is to be repeated."""
MAX_ROUNDS: Final = 10
"""How often a call may be repeated because a page has to be opened."""

Send: TypeAlias = Callable[[Call, Route], Awaitable[Outcome]]


class _Elicitation(msgspec.Struct):
    url: str
    message: str = ""


class _Elicitations(msgspec.Struct):
    elicitations: list[_Elicitation]


class Interaction:
    """Asks servers on behalf of clients that can be asked.

    Args:
        keys: Seal what a modern client carries between two rounds.
        bus: Reaches the other processes.
        seconds: How long a client has for an answer.
        grace: Seconds that a call may take to finish when the process ends.
    """

    def __init__(self, keys: KeyRing, bus: Bus, seconds: float, grace: float) -> None:
        self._states = States(keys.sealer("g1", State), seconds)
        self._parking = Parking(self._states, bus, grace)

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
            asked = msgspec.structs.replace(call, ask=_naming(call, server))
            outcome = await ask_and_repeat(asked, server, lambda each: send(each, route))
            return _open_pages(call, outcome, server)
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
            return await self._first(call, route, send, state.round)
        params = {**call.params, "inputResponses": Raw(encode(call.inputs.responses))}
        if state.inner is not None:
            params["requestState"] = Raw(encode(state.inner))
        outcome = await send(msgspec.structs.replace(call, params=params), route)
        return self._shown(call, outcome, server, state.round)

    async def aclose(self) -> None:
        """End the calls that wait for an answer."""
        await self._parking.aclose()

    async def _first(self, call: Call, route: Route, send: Send, round_: int = 0) -> Outcome:
        server, peer = route.server.name, route.server.peer
        if not call.capabilities.interactive or (peer is not None and peer.era == "modern"):
            outcome = await send(call, route)
        else:
            outcome = await self._parking.begin(call, server, lambda each: send(each, route))
        return self._shown(call, outcome, server, round_)

    def _shown(self, call: Call, outcome: Outcome, server: str, round_: int) -> Outcome:
        """Return an outcome as a modern client may see it."""
        if isinstance(outcome, Failure) and outcome.code == URL_REQUIRED:
            return self._page_first(call, outcome, server, round_)
        if not isinstance(outcome, InputRequired) or isinstance(outcome, Waiting):
            return outcome
        state = self._states.seal(call, "wrapped", round_ + 1, server, inner=outcome.state)
        return InputRequired(_named(outcome.requests, server), state)

    def _page_first(self, call: Call, failure: Failure, server: str, round_: int) -> Outcome:
        pages = _pages(failure)
        if not pages:
            return internal(failure.message, failure)
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
        state = self._states.seal(call, "url", round_ + 1, server)
        return InputRequired(_named(requests, server), state)


def _naming(call: Call, server: str) -> Callable[[Question], Awaitable[Answer]]:
    """Return what asks a legacy client, which is told who asks."""
    ask = call.ask
    assert ask is not None

    async def asks(question: Question) -> Answer:
        call.asked = True
        return await ask(presented(question, server))

    return asks


def _named(requests: Members, server: str) -> Members:
    shown: Members = {}
    for key, request in requests.items():
        question = presented(msgspec.json.decode(request, type=Question), server)
        shown[key] = Raw(encode({"method": question.method, "params": question.params}))
    return shown


def _declined(inputs: Inputs) -> bool:
    given: list[Any] = [msgspec.json.decode(answer) for answer in inputs.responses.values()]
    return any(isinstance(each, dict) and each.get("action") in ("decline", "cancel") for each in given)


def _pages(failure: Failure) -> list[_Elicitation]:
    try:
        data = failure.data if isinstance(failure.data, Raw) else encode(failure.data)
        return msgspec.json.decode(data, type=_Elicitations).elicitations
    except msgspec.DecodeError:
        return []


def _open_pages(call: Call, outcome: Outcome, server: str) -> Outcome:
    """Return an outcome as a legacy client may see it: the error of 2025-11-25 only where it is understood."""
    if not isinstance(outcome, Failure) or outcome.code != URL_REQUIRED:
        return outcome
    if call.capabilities.url:
        return outcome
    pages = "; ".join(f"{page.message} {page.url}".strip() for page in _pages(outcome))
    text = f"Server {server!r} needs you to open a page first, then to call again: {pages or outcome.message}"
    return tool_error(text) if call.method == "tools/call" else internal(text)
