"""Questions of modern servers, which they return, and what goes out with each request."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.scripted import ModernServer, Offer
from tests.serving import serving
from tests.upstream.asking_raw import FORM_PARAMS
from tests.upstream.connecting import ADA, FORM, Client, call, connected, failure


class Needing(ModernServer):
    """A modern server whose tool answers what it is told to."""

    def __init__(self) -> None:
        super().__init__(Offer())
        self.metas: list[dict[str, Any]] = []
        self.offer.add("need", self.need)

    async def need(self, context: Any) -> Any:
        self.metas.append(context.meta)
        return {"resultType": "input_required", **context.arguments}


@pytest.fixture
async def up() -> AsyncIterator[tuple[Needing, dict[str, Any]]]:
    app = Needing()
    async with serving(app) as served:
        yield app, {"url": f"{served.origin}/mcp", "era": "modern", "type": "streamable_http"}


async def test_capabilities_and_level_go_out_with_each_request(up):
    app, config = up
    async with connected(config) as server:
        await server.send(call("need", Client(), FORM, "error", requestState="s"), ADA)
        await server.send(call("need"), ADA)
    keys = [f"io.modelcontextprotocol/{key}" for key in ("clientCapabilities", "logLevel")]
    assert [app.metas[0].get(key) for key in keys] == [{"elicitation": {}}, "error"]
    assert [app.metas[1].get(key) for key in keys] == [{}, None]


async def test_a_state_without_questions_is_passed_on(up):
    _, config = up
    async with connected(config) as server:
        outcome = await server.send(call("need", Client(), FORM, requestState="s"), ADA)
        assert (outcome.requests, outcome.state) == ({}, "s")


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"inputRequests": {}},
        {"inputRequests": []},
        {"requestState": 7},
        {"inputRequests": {"a": {"method": "ping"}}},
        {"inputRequests": {"a": {"params": {}}}},
        {"inputRequests": {"a": "elicitation/create"}},
    ],
)
async def test_what_is_malformed_is_never_passed_on(up, result):
    _, config = up
    async with connected(config) as server:
        assert failure(await server.send(call("need", Client(), FORM, **result), ADA)).code == -32603


@pytest.mark.parametrize(
    "result",
    [
        {"inputRequests": {"a": {"method": "sampling/createMessage", "params": {}}}},
        {"inputRequests": {"a": {"method": "elicitation/create", "params": {"mode": "url"}}}},
        {
            "inputRequests": {
                "a": {"method": "elicitation/create", "params": FORM_PARAMS},
                "b": {"method": "roots/list"},
            }
        },
    ],
)
async def test_what_was_not_offered_is_never_passed_on(up, result):
    _, config = up
    async with connected(config) as server:
        assert failure(await server.send(call("need", Client(), FORM, **result), ADA)).code == -32021


async def test_only_the_three_methods_may_ask(up):
    app, config = up

    async def complete(*_: Any) -> Any:
        return {"resultType": "input_required", "requestState": "s"}

    app.offer._answer = complete
    async with connected(config) as server:
        request = call("need", Client(), FORM)
        request.method = "completion/complete"
        assert failure(await server.send(request, ADA)).code == -32603
