"""The example in each layer's docstring runs as it is printed and does what the layer is for."""

import inspect
import textwrap

import pytest

from metamcp_asgi.asgi.auth import Authenticate
from metamcp_asgi.asgi.cors import CORS
from metamcp_asgi.asgi.observe import Observe
from metamcp_asgi.asgi.origin import OriginGuard
from metamcp_asgi.asgi.ratelimit import RateLimit
from metamcp_asgi.asgi.router import NamespaceRouter

from .driver import Inner, ask

LAYERS = [Observe, CORS, NamespaceRouter, OriginGuard, Authenticate, RateLimit]


def example(layer):
    source = textwrap.dedent(inspect.getdoc(layer).partition("Example::\n")[2])
    assert len([line for line in source.splitlines() if line]) <= 11
    names = {}
    exec(source, names)
    assert isinstance(names["app"], layer)
    return names["app"]


async def test_observe():
    assert (await ask(example(Observe), "/broken")).status == 500
    assert (await ask(example(Observe))).body == b"hello"


async def test_cors():
    answer = await ask(example(CORS), headers={"Origin": "https://inspector.example"})
    assert answer.headers["access-control-allow-origin"] == "https://inspector.example"


async def test_router():
    assert (await ask(example(NamespaceRouter), "/metamcp/tools/mcp")).body == b"tools"
    assert (await ask(example(NamespaceRouter), "/metamcp/other/mcp")).status == 404


async def test_origin():
    assert (await ask(example(OriginGuard), headers={"Host": "mcp.example.com"})).body == b"hello"
    assert (await ask(example(OriginGuard), headers={"Host": "evil.example"})).status == 403


async def test_auth():
    assert (await ask(example(Authenticate), headers={"X-API-Key": "sk_mt_example"})).body == b"Ada"
    assert (await ask(example(Authenticate))).status == 401


async def test_ratelimit():
    app = example(RateLimit)
    assert [(await ask(app)).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
@pytest.mark.parametrize("layer", LAYERS)
async def test_other_scopes_pass_untouched(layer, kind):
    app = example(layer)
    inner = app.app = Inner()
    scope = {"type": kind, "headers": [(b"authorization", b"Bearer x")]}
    await app(scope, None, None)
    assert inner.scopes[0] is scope
    assert scope == {"type": kind, "headers": [(b"authorization", b"Bearer x")]}
