import asyncio
import logging

import pytest

from metamcp_asgi.asgi.observe import Observe

from .driver import Inner, ask


def failing(error, *, after_start=False):
    async def app(scope, receive, send):
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    return app


async def test_a_failure_is_logged_and_the_client_learns_nothing_of_it(caplog):
    answer = await ask(Observe(failing(RuntimeError("the secret detail"))), "/x", method="POST")
    assert answer.status == 500
    assert answer.json["error"] == "Internal server error"
    assert answer.json["timestamp"].endswith("Z")
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    assert "the secret detail" in caplog.text


async def test_the_500_of_a_head_request_has_no_body():
    answer = await ask(Observe(failing(RuntimeError())), method="HEAD")
    assert (answer.status, answer.body) == (500, b"")


async def test_a_failure_after_the_answer_began_reaches_the_server():
    observe = Observe(failing(RuntimeError("late"), after_start=True))
    with pytest.raises(RuntimeError, match="late"):
        await ask(observe)
    assert observe.stats.answered[2] == 1
    assert observe.stats.in_flight == 0


async def test_cancellation_passes():
    observe = Observe(failing(asyncio.CancelledError()))
    with pytest.raises(asyncio.CancelledError):
        await ask(observe)
    assert observe.stats.answered[0] == 1
    assert observe.stats.in_flight == 0


async def test_requests_are_counted_by_outcome_and_while_they_run():
    seen = []

    async def app(scope, receive, send):
        seen.append(observe.stats.in_flight)
        await Inner()(scope, receive, send)

    observe = Observe(app)
    await ask(observe)
    await ask(observe)
    assert seen == [1, 1]
    assert (observe.stats.requests, observe.stats.in_flight, observe.stats.answered[2]) == (2, 0, 2)


async def test_the_access_log_names_all_but_the_query(caplog):
    caplog.set_level(logging.INFO, "metamcp.access")
    await ask(Observe(Inner(), access_log=True), "/a b\nforged", method="POST", query=b"api_key=sk_mt_secret&x=1")
    (record,) = caplog.records
    assert record.name == "metamcp.access"
    assert record.getMessage().startswith("192.0.2.1 POST /a%20b%0Aforged 200 5 ")
    assert "secret" not in caplog.text
    assert "x=1" not in caplog.text


async def test_without_access_log_nothing_is_written(caplog):
    caplog.set_level(logging.DEBUG)
    await ask(Observe(Inner()))
    assert not caplog.records


async def test_the_servers_scope_loses_the_key_and_the_application_keeps_it():
    inner = Inner()
    answer = await ask(Observe(inner), query=b"a=1&apikey=sk_mt_secret")
    assert answer.scope["query_string"] == b"a=1"
    assert inner.scopes[0]["query_string"] == b"a=1&apikey=sk_mt_secret"
