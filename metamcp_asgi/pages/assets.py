"""The files that pages load: our style sheet and scripts, and htmx, each under an address that has its content's hash.

Those of a folder have the hash of the whole folder, so that modules in it can import each other by their names alone.
``static/htmx.min.js`` is that file of the npm package ``htmx.org`` 2.0.11, unchanged. Nothing is loaded from elsewhere.
"""

import hashlib
import zlib
from functools import cache
from pathlib import Path
from typing import Final

from msgspec import Struct
from starlette.types import Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.downstream.prepared import send_prepared

__all__ = ["ASSETS", "asset_path", "serve_assets"]

ASSETS: Final = "/assets"
_STATIC: Final = Path(__file__).parent / "static"
_KINDS: Final = {
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
_HEADERS: Final = (
    (b"cache-control", b"public, max-age=31536000, immutable"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"vary", b"Accept-Encoding"),
)


class _Asset(Struct, frozen=True):
    plain: bytes
    zipped: bytes
    kind: bytes
    version: str


@cache
def _assets() -> dict[str, _Asset]:
    """Return the files, read when the first page is shown."""
    paths = sorted(_STATIC.iterdir())
    found = {path.name: _asset(path, path.read_bytes()) for path in paths if path.suffix in _KINDS}
    for folder in (path for path in paths if path.is_dir()):
        files = [path for path in sorted(folder.iterdir()) if path.suffix in _KINDS]
        together = b"".join(b"%b %b" % (path.name.encode(), path.read_bytes()) for path in files)
        found |= {f"{folder.name}/{path.name}": _asset(path, together) for path in files}
    return found


def _asset(path: Path, versioned: bytes) -> _Asset:
    """Return a file; ``versioned`` is the content that its address stands for."""
    plain = path.read_bytes()
    packer = zlib.compressobj(9, wbits=31)
    zipped = packer.compress(plain) + packer.flush()
    return _Asset(plain, zipped, _KINDS[path.suffix], hashlib.sha256(versioned).hexdigest()[:16])


def asset_path(name: str) -> str:
    """Return the path of a file, below that of the gateway.

    Args:
        name: Its name, after that of its folder: ``inspector/main.js``.

    Raises:
        KeyError: There is no such file.
    """
    return f"{ASSETS}/{_assets()[name].version}/{name}"


async def serve_assets(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve the files: an ASGI application for what is below ``ASSETS``."""
    version, _, name = scope["path"].rpartition(f"{ASSETS}/")[2].partition("/")
    asset = _assets().get(name)
    if asset is None or asset.version != version or scope["method"] not in ("GET", "HEAD"):
        body = {"error": "Not found", "message": "There is no such file, or it is another one by now; reload the page."}
        await send_refusal(scope, send, 404, body)
        return
    accepted = b",".join(value for header, value in scope["headers"] if header == b"accept-encoding")
    if b"gzip" in accepted.lower():
        headers = [*_HEADERS, (b"content-encoding", b"gzip")]
        await send_prepared(scope, send, b'"%b-gz"' % asset.version.encode(), headers, asset.kind, asset.zipped)
    else:
        await send_prepared(scope, send, b'"%b"' % asset.version.encode(), _HEADERS, asset.kind, asset.plain)
