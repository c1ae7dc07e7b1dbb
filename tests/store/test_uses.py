"""Uses of keys that could not be written down are not forgotten."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.store.columns import now
from metamcp_asgi.store.models import ApiKey
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.source import StoreSource
from metamcp_asgi.store.uses import Uses
from tests.databases import SECRET


def test_the_later_of_two_uses_counts() -> None:
    uses = Uses()
    uses.note(b"kept")
    uses.note(b"again")
    taken = uses.take()
    assert not uses.take()
    assert not uses.due()
    uses.note(b"again")
    later = datetime.fromtimestamp(time.time() + 60, UTC)
    uses.put_back({**taken, b"other": later})
    assert (found := uses.take()).keys() == {b"kept", b"again", b"other"}
    assert found[b"kept"] == taken[b"kept"]
    assert taken[b"again"] <= found[b"again"] <= now()


async def test_what_is_left_is_written_down_at_the_end(database: Callable[[], str]) -> None:
    url = database()
    store = await Store.open(url, environ={}, secret_keys=(SECRET,))
    async with store.write(SYSTEM) as tx:
        key = await tx.add(ApiKey(name="k", digest=digest_of("k"), prefix=""))
    source = StoreSource(url, environ={}, secret_keys=(SECRET,))
    await source.reload()
    source.used(digest_of("k"))
    await source.aclose()
    async with store.read() as tx:
        used = (await tx.get(ApiKey, key.id)).last_used_at
    await store.aclose()
    assert used is not None
    assert now() - timedelta(minutes=5) < used <= now()
