"""The management API as one ASGI application: guarded, admitted, routed, readable from top to bottom.

The composition root of this folder.
"""

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.admin.api import (
    configuration,
    endpoints,
    exporting,
    governance,
    grants,
    imports,
    keys,
    logs,
    metrics,
    names,
    namespaces,
    oauth,
    registry,
    servers,
    sessions,
    tools,
    users,
)
from metamcp_asgi.admin.api.access import Access
from metamcp_asgi.admin.api.openapi import describe
from metamcp_asgi.admin.api.operation import Ask, Operation, Recent
from metamcp_asgi.admin.api.problem import Problem
from metamcp_asgi.admin.api.routing import Answering, routed
from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.asgi.auth import Access as Asked
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.asgi.origin import OriginGuard
from metamcp_asgi.config.snapshot import Key
from metamcp_asgi.downstream.prepared import send_prepared
from metamcp_asgi.registry.client import Registry
from metamcp_asgi.signin.sessions import Sessions
from metamcp_asgi.store.repository import Store

__all__ = ["OPERATIONS", "PREFIX", "management_api"]

PREFIX: Final = "/api/v1"

OPERATIONS: Final[tuple[Operation, ...]] = (
    *servers.OPERATIONS,
    *exporting.OPERATIONS,
    *grants.OPERATIONS,
    *namespaces.OPERATIONS,
    *names.OPERATIONS,
    *tools.OPERATIONS,
    *endpoints.OPERATIONS,
    *keys.OPERATIONS,
    *users.OPERATIONS,
    *sessions.OPERATIONS,
    *oauth.OPERATIONS,
    *governance.OPERATIONS,
    *configuration.OPERATIONS,
    *imports.OPERATIONS,
    *logs.OPERATIONS,
    *metrics.OPERATIONS,
    *registry.OPERATIONS,
)
"""The whole route table."""

_NEVER_OPEN: Final = Asked(name=PREFIX)


def management_api(
    store: Callable[[], Awaitable[Store]],
    aggregator: Aggregator,
    keys: Callable[[], Mapping[bytes, Key]],
    counting: Counting,
    *,
    hosts: Collection[str] | None = None,
    origins: Collection[str] = (),
    max_body_bytes: int = 1024 * 1024,
    used: Callable[[bytes], object] | None = None,
    app_url: str | None = None,
    sessions: Sessions | None = None,
    recent: Recent | None = None,
    explored: Registry | None = None,
) -> ASGIApp:
    """Return the application; serve it where the path begins with ``PREFIX``.

    Args:
        store: Gives the open store.
        aggregator: What runs.
        keys: Gives the keys of the present snapshot by their digests.
        counting: Counts wrong keys, and what has a limit.
        hosts: ``Host`` values to answer, as for ``OriginGuard``.
        origins: ``Origin`` values to answer besides our own.
        max_body_bytes: Size of a request's body, in bytes.
        used: Called with the digest of each key with which things are managed.
        app_url: Public URL of the gateway, with which ``Location`` and ``Link`` and the document's ``servers`` begin;
            ``None``: they are paths, and right wherever the gateway is mounted.
        sessions: The sessions of people, who may manage things, too.
        recent: What is kept of what happens.
        explored: The MCP registry in which servers are looked for.
    """
    access = Access(keys, counting, used=used, sessions=sessions)

    async def asked(scope: Scope) -> Ask:
        opened = await store()
        caller = await access.caller(opened, scope)
        base = _base(scope, app_url)
        return Ask(
            store=opened,
            aggregator=aggregator,
            caller=caller,
            base=base,
            recent=recent,
            registry=explored,
            counting=counting,
        )

    app: ASGIApp = routed(OPERATIONS, asked, max_body_bytes)
    app = Document(app, app_url)
    app = Guard(app, hosts=hosts, origins=origins)
    app = Answering(app)
    return Below(app)


class Below:
    """Put the part of the path that comes before the API's own into ``root_path``, and tell that a key is asked for.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        root: str = scope.get("root_path", "")
        path: str = scope["path"]
        # Some hosts leave the mount point out of the path, which then is as short as the route table wants it.
        inside = path[len(root) :] if root and path.startswith(root + "/") else path
        inner = {
            **scope,
            "root_path": root + PREFIX,
            "path": root + inside,
            "metamcp.endpoint": _NEVER_OPEN,
        }
        await self.app(inner, receive, send)


class Guard(OriginGuard):
    """``OriginGuard``, with the API's own form of an error."""

    async def refuse(self, scope: Scope, send: Send, status: int, error: str, message: str) -> None:
        """Refuse a request.

        Raises:
            Problem: Always.
        """
        raise Problem(status, message)


class Document:
    """Serve ``openapi.json``, which is the same for everybody and so needs no key.

    Args:
        app: The application inside.
        app_url: Public URL of the gateway; ``None``: the path that a request came to.
    """

    def __init__(self, app: ASGIApp, app_url: str | None = None) -> None:
        self.app = app
        self._app_url = app_url
        self._documents: dict[str, tuple[bytes, bytes]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"] != f"{scope['root_path']}/openapi.json" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        tag, content = self._prepared(_base(scope, self._app_url))
        headers = [(b"cache-control", b"no-cache"), (b"x-content-type-options", b"nosniff")]
        await send_prepared(scope, send, tag, headers, b"application/json", content)

    def _prepared(self, prefix: str) -> tuple[bytes, bytes]:
        if prefix not in self._documents:
            content = describe(OPERATIONS, prefix)
            self._documents = {prefix: (f'"{hashlib.sha256(content).hexdigest()[:32]}"'.encode(), content)}
        return self._documents[prefix]


def _base(scope: Scope, app_url: str | None) -> str:
    """Return where the API is, as clients see it: a URL, or the path."""
    return quote(scope["root_path"]) if app_url is None else app_url + PREFIX
