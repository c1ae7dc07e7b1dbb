"""The same gateway as one process, or as two that share nothing but their keys and a Redis."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from starlette.types import ASGIApp

from tests.gateway.client import Client, Session
from tests.gateway.running import RunningGateway, document_of, gateway_for, served
from tests.redis import Redis


@contextlib.asynccontextmanager
async def one_or_two(
    server: ASGIApp, redis: Redis | None, prefix: str, era: str = "legacy"
) -> AsyncIterator[tuple[RunningGateway, RunningGateway]]:
    """Runs a gateway over a server named `raw`; yields its processes, or the one twice where there is no Redis."""
    async with served(server) as port, contextlib.AsyncExitStack() as stack:
        document = document_of({"raw": {"url": f"http://127.0.0.1:{port}/mcp", "era": era}})
        if redis is None:
            one = two = await stack.enter_async_context(gateway_for(document))
        else:
            common: dict[str, Any] = {"secret_keys": (b"k" * 32,), "redis_url": redis.url, "redis_prefix": prefix}
            one = await stack.enter_async_context(gateway_for(document, **common))
            two = await stack.enter_async_context(gateway_for(document, **common))
        yield one, two


def at(running: RunningGateway, session: Session) -> Session:
    """Returns a session as its client uses it at a process."""
    client = Client(running.port)
    client.path, client.headers = session.client.path, session.client.headers
    return Session(client, session.id, "2025-11-25")
