"""How many calls may wait for their clients, and what becomes of one more."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from metamcp_asgi.aggregate.interaction import parking
from tests.gateway.client import Client
from tests.gateway.running import KEY_A, KEY_B, RunningGateway, gateway_over
from tests.gateway.witness import Witness
from tests.lab.modern import build
from tests.lab.test_asking import accept, asked, call, text


@pytest.fixture
async def running() -> AsyncIterator[RunningGateway]:
    async with gateway_over(
        {"ul": build("ul", Witness()).streamable_http_app()}, config={"ul": {"era": "legacy"}}
    ) as running:
        yield running


async def test_one_principal_has_so_many_calls_waiting_and_others_as_many(
    running: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "MAX_PER_PRINCIPAL", 2)
    a, b = running.client("keyed", KEY_A), running.client("keyed", KEY_B)
    answers = await asyncio.gather(*(call(a, "ul__ask", {"topic": f"{n}"}) for n in range(6)))
    waiting = [answer for answer in answers if answer.result()["resultType"] == "input_required"]
    assert len(waiting) == 2
    # The server was told that nobody answers, as if the user had closed the question.
    assert sorted(text(answer)[1:] for answer in answers if answer not in waiting) == [": cancel"] * 4
    asked(await call(b, "ul__ask", {"topic": "tea"}))


async def test_a_call_that_waits_already_may_ask_again(
    running: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "MAX_PER_PRINCIPAL", 2)
    a = running.client("keyed", KEY_A)
    rounds = [asked(await call(a, "ul__ask_twice", {"topic": f"{n}"})) for n in range(2)]
    for n, (requests, state) in enumerate(rounds):
        more = {"requestState": state, "inputResponses": accept(requests, word="leaf")}
        requests, state = asked(await call(a, "ul__ask_twice", {"topic": f"{n}"}, **more))
        more = {"requestState": state, "inputResponses": accept(requests, word="cup")}
        assert text(await call(a, "ul__ask_twice", {"topic": f"{n}"}, **more)) == f"{n}: leaf, cup"
    # And what has ended makes room.
    asked(await call(a, "ul__ask", {"topic": "tea"}))


async def test_strangers_share_a_limit_of_their_own(running: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "MAX_PER_PRINCIPAL", 1)
    monkeypatch.setattr(parking, "MAX_OF_STRANGERS", 2)
    strangers: list[Client] = [running.client("open") for _ in range(3)]
    for stranger in strangers[:2]:
        asked(await call(stranger, "ul__ask", {"topic": "tea"}))
    assert text(await call(strangers[2], "ul__ask", {"topic": "tea"})) == "tea: cancel"
    asked(await call(running.client("keyed", KEY_A), "ul__ask", {"topic": "tea"}))
