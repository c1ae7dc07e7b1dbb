"""A configuration, and what it is to write one to a store and read it back."""

from typing import Any

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.store.apply import apply
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.scope import read_scope

DOCUMENT: dict[str, Any] = {
    "mcpServers": {
        "time": {"command": "uvx", "args": ["mcp-server-time"], "env": {"TOKEN": "secret-env"}},
        "web": {"url": "http://127.0.0.1:1/mcp", "headers": {"X-Team": "t"}, "bearerToken": "secret-token"},
    },
    "namespaces": {"n": {"servers": ["web", "time"], "tools": {"time__now": {"enabled": False}}}},
    "endpoints": {"e": {"namespace": "n", "rateLimit": {"maxRate": 5, "maxRateSeconds": 60}}},
    "apiKeys": [{"name": "me", "key": "sk_mt_0123456789abcdef", "endpoints": ["e"]}],
}


def document(**sections: Any) -> Snapshot:
    return compile_document({**DOCUMENT, **sections}, environ={})


async def applied(store: Store, wanted: Snapshot, owner: Any = None, **options: Any) -> list[tuple[str, str, str]]:
    async with store.write(SYSTEM) as tx:
        return [(each.action, each.kind, each.name) for each in await apply(tx, owner, wanted, **options)]


async def there(store: Store, owner: Any = None) -> Snapshot:
    async with store.read() as tx:
        return (await read_scope(tx, owner)).snapshot
