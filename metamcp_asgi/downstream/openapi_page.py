"""Swagger UI for the OpenAPI bridge, from files that this package ships: nothing is loaded from elsewhere.

The page is the same for everybody and holds no secret, so it stands before the layer that asks for a key: a browser
can open it, and it asks for the key itself where the document is refused without one. Knows nothing of tools.

``static/`` has two files of the npm package ``swagger-ui-dist`` 5.35.0, compressed: no Python package keeps up with its
releases without bringing a framework along, and with none to install there is none to miss.
"""

import hashlib
import zlib
from collections.abc import Awaitable
from functools import cache
from html import escape
from pathlib import Path
from typing import Final

from msgspec import Struct
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.config.snapshot import Endpoint
from metamcp_asgi.downstream.prepared import send_prepared

__all__ = ["SwaggerUI"]

_STATIC: Final = Path(__file__).parent / "static"
_LEAF: Final = "api"
_SCRIPT, _STYLE = b"text/javascript; charset=utf-8", b"text/css; charset=utf-8"
_FILES: Final = {
    # "-" is no tool, and so these paths are none of the tools' either.
    f"{_LEAF}/-/swagger-ui.css": _STYLE,
    f"{_LEAF}/-/swagger-ui-bundle.js": _SCRIPT,
    f"{_LEAF}/-/page.css": _STYLE,
    f"{_LEAF}/-/page.js": _SCRIPT,
}
_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SAFE: Final = (
    (b"x-content-type-options", b"nosniff"),
    # The page's own URL may hold a key.
    (b"referrer-policy", b"no-referrer"),
)
# The page names its files by their content, so a new one has a new address.
_FOR_GOOD: Final = (b"cache-control", b"public, max-age=31536000, immutable")

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{swagger-ui.css}">
<link rel="stylesheet" href="{page.css}">
<script src="{swagger-ui-bundle.js}" defer></script>
<script src="{page.js}" defer></script>
</head>
<body data-document="{document}">
<form id="key-form" hidden>
<label for="key">This endpoint asks for an API key</label>
<input id="key" type="password" autocomplete="off" required>
<button>Open</button>
<p id="key-error" role="alert"></p>
</form>
<div id="swagger-ui"><noscript>This page needs JavaScript.</noscript></div>
</body>
</html>
"""


class SwaggerUI:
    """Serve the page at ``GET {endpoint}/api`` and its files; everything else goes inward.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request; a plain call, so that those that go inward cost no coroutine more."""
        leaf = scope.get("metamcp.leaf")
        if leaf == _LEAF:
            return self._send_page(scope, send)
        if leaf in _FILES:
            return self._send_file(leaf, scope, send)
        return self.app(scope, receive, send)

    async def _send_page(self, scope: Scope, send: Send) -> None:
        if await _refused(scope, send):
            return
        endpoint: Endpoint = scope["metamcp.endpoint"]
        # Relative, because a proxy in front may have put the gateway below another path.
        here = "" if scope["path"].endswith("/") else f"{_LEAF}/"
        page = _PAGE.replace("{title}", escape(f"{endpoint.name} Server")).replace("{document}", f"{here}openapi.json")
        for leaf in _FILES:
            name = leaf.rpartition("/")[2]
            page = page.replace(f"{{{name}}}", f"{here}-/{name}?v={_file(name).version}")
        body = page.encode()
        headers = [(b"cache-control", b"no-cache"), (b"content-security-policy", _POLICY), *_SAFE]
        await send_prepared(scope, send, _tag(body), headers, b"text/html; charset=utf-8", body)

    async def _send_file(self, leaf: str, scope: Scope, send: Send) -> None:
        if await _refused(scope, send):
            return
        file = _file(leaf.rpartition("/")[2])
        headers = [_FOR_GOOD, *_SAFE, (b"vary", b"Accept-Encoding")]
        accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        if b"gzip" in accepted.lower():
            headers.append((b"content-encoding", b"gzip"))
            await send_prepared(scope, send, _tag(file.zipped), headers, _FILES[leaf], file.zipped)
        else:
            body = zlib.decompress(file.zipped, wbits=31)
            await send_prepared(scope, send, _tag(body), headers, _FILES[leaf], body)


class _File(Struct, frozen=True):
    zipped: bytes
    version: str


@cache
def _file(name: str) -> _File:
    """Return a shipped file, read when the first page is opened."""
    zipped = _STATIC / f"{name}.gz"
    if zipped.is_file():
        content = zipped.read_bytes()
    else:
        packer = zlib.compressobj(9, wbits=31)
        content = packer.compress((_STATIC / name).read_bytes()) + packer.flush()
    return _File(content, hashlib.sha256(content).hexdigest()[:12])


def _tag(body: bytes) -> bytes:
    return b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode()


async def _refused(scope: Scope, send: Send) -> bool:
    if scope["method"] in ("GET", "HEAD"):
        return False
    body = {"error": "Method not allowed", "message": "This URL takes GET and HEAD; tools have URLs of their own below"}
    await send_refusal(scope, send, 405, body, [(b"allow", b"GET, HEAD")])
    return True
