"""Gateways and servers run under real uvicorn, on free ports, in the event loop of the tests."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import uvicorn
from starlette.types import ASGIApp

from metamcp_asgi import Gateway
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.settings import Settings
from tests.gateway.client import Client
from tests.uvicorn_server import LoopServer

KEY_A = "sk_mt_acceptance_aaaaaaaaaaaa"
KEY_B = "sk_mt_acceptance_bbbbbbbbbbbb"
KEYS = [{"name": "A", "key": KEY_A}, {"name": "B", "key": KEY_B}]


@contextlib.asynccontextmanager
async def served(
    app: ASGIApp, lifespan: Literal["auto", "on", "off"] = "auto", http: Literal["auto", "h11", "httptools"] = "auto"
) -> AsyncIterator[int]:
    """Serves an application for the length of a `with` block; yields the port."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=0,
        lifespan=lifespan,
        http=http,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = LoopServer(config)
    task = await server.begin()
    try:
        yield server.port
    finally:
        server.end()
        await task


class RunningGateway:
    """A gateway of a test, its port, and the object itself."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway = gateway
        self.port = port

    def client(self, endpoint: str = "open", key: str | None = None) -> Client:
        return Client(self.port, endpoint, key)


@contextlib.asynccontextmanager
async def gateway_for(
    document: Mapping[str, Any], *, wait: bool = True, **settings: Any
) -> AsyncIterator[RunningGateway]:
    """Runs a gateway for the length of a `with` block.

    Args:
        document: Its configuration.
        wait: Whether each server has been read, or has failed, before the block begins.
        settings: Settings that differ from the usual ones.
    """
    gateway = Gateway(compile_document(document, environ={}), Settings(**settings))
    async with served(gateway, "on") as port:
        try:
            for catalogue in gateway.aggregator.catalogues.values() if wait else ():
                await catalogue.ready()
            yield RunningGateway(gateway, port)
        finally:
            gateway.close_streams()


@contextlib.asynccontextmanager
async def gateway_over(
    servers: Mapping[str, ASGIApp | Mapping[str, Any]],
    *,
    config: Mapping[str, Mapping[str, Any]] | None = None,
    namespace: Mapping[str, Any] | None = None,
    endpoints: Mapping[str, Mapping[str, Any]] | None = None,
    wait: bool = True,
    **settings: Any,
) -> AsyncIterator[RunningGateway]:
    """Runs a gateway over servers that are applications of this test, or configurations.

    Its endpoints are `open` and `keyed`, which wants KEY_A or KEY_B.

    Args:
        servers: The servers by name.
        config: Further configuration of servers, by name.
        namespace: Further configuration of the one namespace.
        endpoints: Further endpoints, by name.
        wait: Whether each server has been read, or has failed, before the block begins.
        settings: Settings that differ from the usual ones.
    """
    async with contextlib.AsyncExitStack() as stack:
        configured = {}
        for name, server in servers.items():
            if isinstance(server, Mapping):
                configured[name] = {**server, **(config or {}).get(name, {})}
            else:
                port = await stack.enter_async_context(served(server))
                configured[name] = {"url": f"http://127.0.0.1:{port}/mcp", **(config or {}).get(name, {})}
        document = document_of(configured, namespace, endpoints)
        yield await stack.enter_async_context(gateway_for(document, wait=wait, **settings))


def document_of(
    servers: Mapping[str, Any],
    namespace: Mapping[str, Any] | None = None,
    endpoints: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Returns a configuration with one namespace and the endpoints `open` and `keyed`."""
    published = {"open": {"apiKeyAuth": False}, "keyed": {}, **(endpoints or {})}
    return {
        "mcpServers": dict(servers),
        "namespaces": {"all": {"servers": list(servers), **(namespace or {})}},
        "endpoints": {name: {"namespace": "all", **endpoint} for name, endpoint in published.items()},
        "apiKeys": KEYS,
    }
