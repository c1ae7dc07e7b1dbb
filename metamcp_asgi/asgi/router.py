"""From path to endpoint: ``/metamcp/{endpoint}/{leaf}``, and the few pages that belong to no endpoint.

Knows the endpoints of the present snapshot by name. Knows nothing of keys or of what a leaf does.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from urllib.parse import quote

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_json, send_refusal
from metamcp_asgi.asgi.fixed import always
from metamcp_asgi.config.snapshot import Endpoint

__all__ = ["Leaves", "NamespaceRouter"]


class NamespaceRouter:
    """Put the endpoint of the path into the scope, or say what exists instead.

    The inner application gets a copy of the scope with ``metamcp.endpoint`` (an ``Endpoint``) and ``metamcp.leaf``
    (the rest of the path, without slashes around it: ``mcp``); path and root path stay as they are. Works
    mounted: what a host put into ``root_path`` is not looked at.

    Args:
        app: The application inside; sees only requests for a leaf of an existing endpoint.
        endpoints: Endpoints by name, or a callable that gives the present ones, called once per request.
        prefix: Where the endpoints live.
        leaves: What is served below an endpoint, by the first segment.
        opened: Tells of a request which endpoints its caller may use, and so finds in the index; the open ones, when
            left out.

    Example::

        from metamcp_asgi.asgi.router import NamespaceRouter
        from metamcp_asgi.config.snapshot import Endpoint

        async def hello(scope, receive, send):
            name = scope["metamcp.endpoint"].name
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": name.encode()})

        app = NamespaceRouter(hello, {"tools": Endpoint(name="tools", namespace="all", api_key_auth=False)})
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Callable[[], Mapping[str, Endpoint]] | Mapping[str, Endpoint],
        *,
        prefix: str = "/metamcp",
        leaves: Collection[str] = ("mcp",),
        opened: Callable[[Scope], Callable[[Endpoint], bool]] | None = None,
    ) -> None:
        self.app = app
        self._endpoints = endpoints if callable(endpoints) else always(endpoints)
        self._base = prefix.rstrip("/")
        self._prefix = self._base + "/"
        self._leaves = tuple(leaves)
        self._opened = opened if opened is not None else always(_is_open)
        # Where a session over HTTP+SSE posts, its stream tells; by itself the URL is of no use.
        self._urls = {leaf: leaf for leaf in self._leaves if leaf != "message"}
        if "api" in self._urls:
            self._urls["openapi"] = "api/openapi.json"
        self._health = {
            "/health": b'{"status":"ok"}',
            self._prefix + "health": b'{"status":"ok","service":"public-endpoints"}',
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request for a leaf inward, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        root = scope.get("root_path", "")
        # The rule of ASGI hosts: the mount point is a prefix of the path; some old ones leave it out of the path.
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
            path = path[len(root) :]
        if path.startswith(self._prefix):
            name, _, leaf = path[len(self._prefix) :].partition("/")
            leaf = leaf.rstrip("/")
            if leaf:
                endpoint = self._endpoints().get(name)
                if endpoint is not None and leaf.partition("/")[0] in self._leaves:
                    await self.app({**scope, "metamcp.endpoint": endpoint, "metamcp.leaf": leaf}, receive, send)
                elif endpoint is not None:
                    await self._not_found(scope, send, quote(name))
                else:
                    message = f"No endpoint found with name: {name}"
                    await send_refusal(scope, send, 404, {"error": "Endpoint not found", "message": message})
                return
        await self._answer(path, scope, send)

    async def _answer(self, path: str, scope: Scope, send: Send) -> None:
        index = path in (self._base, self._prefix)
        content = self._index(scope) if index else self._health.get(path.rstrip("/"))
        if content is None:
            await self._not_found(scope, send, "{endpoint}")
        elif scope["method"] in ("GET", "HEAD"):
            await send_json(scope, send, 200, content)
        else:
            message = f"{path} answers GET and HEAD only."
            allow = [(b"allow", b"GET, HEAD")]
            await send_refusal(scope, send, 405, {"error": "Method not allowed", "message": message}, allow)

    async def _not_found(self, scope: Scope, send: Send, name: str) -> None:
        places = [*self._health, self._prefix, *(f"{self._prefix}{name}/{leaf}" for leaf in self._leaves)]
        message = f"Nothing is served at this path. There are: {', '.join(places)}"
        await send_refusal(scope, send, 404, {"error": "Not found", "message": message})

    def _index(self, scope: Scope) -> bytes:
        """List what the caller may use: other names behind a key are nobody's business (defect B9 of MetaMCP)."""
        base = scope.get("root_path", "") + self._prefix
        opened = self._opened(scope)
        return msgspec.json.encode(
            {
                "service": "public-endpoints",
                "version": "1.0.0",
                "description": "Public MetaMCP endpoints",
                "endpoints": [
                    {
                        "name": endpoint.name,
                        "description": "",
                        "namespace": endpoint.namespace,
                        "endpoints": {kind: f"{base}{quote(name)}/{leaf}" for kind, leaf in self._urls.items()},
                    }
                    for name, endpoint in self._endpoints().items()
                    if opened(endpoint)
                ],
            }
        )


class Leaves:
    """The applications below an endpoint, by the first segment of the leaf that ``NamespaceRouter`` found.

    Args:
        apps: The applications; there is one for each leaf of the router.
    """

    def __init__(self, apps: Mapping[str, ASGIApp]) -> None:
        self._apps = dict(apps)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request; a plain call, which costs no coroutine of its own."""
        return self._apps[scope["metamcp.leaf"].partition("/")[0]](scope, receive, send)


def _is_open(endpoint: Endpoint) -> bool:
    return endpoint.open
