"""Who has written something has what is served read again, beside the watcher that does so by itself."""

import asyncio
from itertools import pairwise
from pathlib import Path

from metamcp_asgi.store.models import Endpoint, Namespace
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.source import StoreSource
from tests.databases import SECRET

WRITES = 12


async def test_who_reloads_at_the_same_time_gets_no_state_that_is_half_read_or_older(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/metamcp.db"
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    async with store.write(SYSTEM) as tx:
        namespace = await tx.add(Namespace(name="all"))
        await tx.add(Endpoint(name="first", namespace_id=namespace.id))
    source = StoreSource(url, environ={}, secret_keys=(SECRET,))
    served: list[frozenset[str]] = []

    async def reload() -> None:
        served.append(frozenset((await source.reload()).endpoints))

    async def write(number: int) -> None:
        async with store.write(SYSTEM) as tx:
            await tx.add(Endpoint(name=f"e{number}", namespace_id=namespace.id))
        await asyncio.gather(reload(), reload())

    try:
        await reload()
        await asyncio.gather(*(write(number) for number in range(WRITES)), *(reload() for _ in range(2 * WRITES)))
    finally:
        await source.aclose()
        await store.aclose()
    assert all("first" in each for each in served)
    assert all(before <= after for before, after in pairwise(served))
    assert len(served[-1]) == WRITES + 1
