"""CORS for MCP clients and admin pages that run in browsers: Starlette's layer, told the headers of both.

Knows header names; knows nothing of endpoints. Which requests are *served* is the business of ``origin.py``;
this layer says which answers a page may *read*.
"""

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["CORS"]

METHODS = ("GET", "POST", "PATCH", "DELETE", "OPTIONS")
EXPOSED_HEADERS = (
    "Mcp-Session-Id",
    "Mcp-Protocol-Version",
    "WWW-Authenticate",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    # Of the management API and the OpenAPI bridge.
    "ETag",
    "Link",
    "Location",
)
LOOPBACK_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?"


class CORS(CORSMiddleware):
    """Let pages of the allowed origins call MCP endpoints and the management API, and read what they answer.

    Request headers are mirrored from the preflight, because their set is open: ``Mcp-Param-*`` names come from tools'
    schemas (SEP-2243), and an endpoint may tell clients apart by any header. Nothing is lost by it, as credentials are
    off: the browser adds neither cookies nor stored passwords, so a page can send only what it knows.

    Args:
        app: The application inside.
        allow_origins: Origins such as ``https://inspector.example``, beside loopback ones, which are always
            allowed on any port; ``*`` allows all.

    Example::

        from metamcp_asgi.asgi.cors import CORS

        async def hello(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})

        app = CORS(hello, allow_origins=["https://inspector.example"])
    """

    def __init__(self, app: ASGIApp, allow_origins: Collection[str] = ()) -> None:
        super().__init__(
            app,
            # Browsers send origins in lower case and without a path.
            allow_origins=[origin.lower().rstrip("/") for origin in allow_origins],
            allow_origin_regex=LOOPBACK_ORIGIN,
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or mark the answer with what a page may read."""
        if scope["type"] == "http":
            # Without an origin all that is to be done is ``Vary: Origin``, which concerns only what a cache may keep.
            concerned = scope["method"] in ("GET", "HEAD")
            for name, _ in scope["headers"]:
                if name == b"origin":
                    concerned = True
            if concerned:
                await super().__call__(scope, receive, send)
                return
        await self.app(scope, receive, send)

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        """Add the headers to a copy, so that applications may use one prepared message for many answers."""
        await super().send({**message}, send, request_headers)
