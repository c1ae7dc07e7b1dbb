"""A modern server's questions to a legacy client: asked while it waits, then the call is repeated (eras.md 2.6)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.questions import ELICIT, page_of
from metamcp_asgi.protocol.jsonrpc import Members, encode
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, internal, tool_error
from metamcp_asgi.upstream.request import Ask, Question

__all__ = ["Refused", "answers_of", "ask_and_repeat"]

Send: TypeAlias = Callable[[Call], Awaitable[Outcome]]

MAX_ROUNDS: Final = 10
"""How often a server may ask again in one call, as in the SDKs."""
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.25
"""Seconds before a call is repeated that waits for something else than an answer; doubled from the first on."""
MAX_WAIT: Final = 60.0
"""Seconds after which such a call is given up."""

_CANCEL: Final = Raw(b'{"action":"cancel"}')
_ACCEPT: Final = Raw(b'{"action":"accept"}')


class Refused(Exception):
    """The client refuses something for which a repeated call has no form (MR-07)."""


async def ask_and_repeat(call: Call, server: str, send: Send, through: Callable[[str], None]) -> Outcome:
    """Have a server answer a call, asking its client whatever the server wants to know.

    Args:
        call: The call; its client can be asked.
        server: The server's name.
        send: Has the server answer.
        through: Is told the URL of a page that the user has opened and the server no longer asks for.

    Raises:
        UpstreamError: The server could not be asked.
    """
    assert call.ask is not None
    loop = asyncio.get_running_loop()
    give_up = loop.time() + MAX_WAIT
    opened: set[str] = set()
    rounds, pause = 0, FIRST_PAUSE
    outcome = await send(call)
    while isinstance(outcome, InputRequired):
        questions = {key: msgspec.json.decode(each, type=Question) for key, each in outcome.requests.items()}
        urls = {key: page.url for key, question in questions.items() if (page := page_of(question)) is not None}
        new = {key: question for key, question in questions.items() if urls.get(key) not in opened}
        if new:
            rounds += 1
            if rounds > MAX_ROUNDS:
                return _failed(call, f"Server {server!r} asked for input more than {MAX_ROUNDS} times in one call")
        elif loop.time() > give_up:
            return _failed(call, f"Server {server!r} still waits for something after {MAX_WAIT:g} seconds")
        else:
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        try:
            answers = await answers_of(new, call.ask)
        except Refused as refusal:
            return _failed(call, str(refusal))
        for key in questions:
            if key not in new:
                # The user has been there; the server has not noticed yet.
                answers[key] = _ACCEPT
            elif key in urls and _accepted(answers[key]):
                opened.add(urls[key])
                give_up = loop.time() + MAX_WAIT
        outcome = await send(_repeated(call, answers, outcome.state))
        for url in opened.difference(_asked_for(outcome)):
            through(url)
    return outcome


def _asked_for(outcome: Outcome) -> set[str]:
    """Return the URLs of the pages that a server asks for."""
    requests = outcome.requests.values() if isinstance(outcome, InputRequired) else ()
    pages = (page_of(msgspec.json.decode(each, type=Question)) for each in requests)
    return {page.url for page in pages if page is not None}


async def answers_of(questions: dict[str, Question], ask: Ask) -> Members:
    """Return the client's answers to all questions, which it is asked at the same time.

    Args:
        questions: What it is asked, by key.
        ask: Asks it.

    Raises:
        Refused: One was refused, and has no answer that says so.
    """
    tasks = {key: asyncio.ensure_future(ask(each)) for key, each in questions.items()}
    try:
        answers: Members = {}
        for key, task in tasks.items():
            answer = await task
            if answer.result is not None:
                answers[key] = answer.result
            elif questions[key].method == ELICIT:
                answers[key] = _CANCEL
            else:
                failure = answer.failure or internal("no answer")
                raise Refused(f"The client refused {questions[key].method}: {failure.message}")
        return answers
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def _repeated(call: Call, answers: Members, state: str | None) -> Call:
    params = {**call.params, "inputResponses": Raw(encode(answers))}
    if state is not None:
        params["requestState"] = Raw(encode(state))
    return msgspec.structs.replace(call, params=params)


def _accepted(answer: Raw) -> bool:
    given: Any = msgspec.json.decode(answer)
    return isinstance(given, dict) and given.get("action") == "accept"


def _failed(call: Call, text: str) -> Outcome:
    if call.method == "tools/call":
        return tool_error(text, "refused")
    failure: Failure = internal(text)
    return failure
