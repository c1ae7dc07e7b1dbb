"""API keys in query strings: read one, and take them out before anybody logs or forwards them.

MetaMCP accepts ``?api_key=`` and ``?apikey=``. Knows nothing of endpoints or of whether a key is good.
"""

from urllib.parse import unquote_to_bytes

from starlette.types import Scope

__all__ = ["hide_keys", "key_in", "without_keys"]

_NAMES = (b"api_key", b"apikey")


def key_in(query: bytes) -> bytes | None:
    """Return the key in a query string, ``api_key`` before ``apikey``, an empty one being none."""
    found: dict[bytes, bytes] = {}
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        found.setdefault(_decoded(name), value)
    return next((_decoded(found[name]) for name in _NAMES if found.get(name)), None)


def without_keys(query: bytes) -> bytes:
    """Return ``query`` without its key parameters, and otherwise byte for byte."""
    return b"&".join(pair for pair in query.split(b"&") if _decoded(pair.partition(b"=")[0]) not in _NAMES)


def hide_keys(scope: Scope) -> Scope:
    """Take the keys out of ``scope`` itself and return a copy that still has them.

    A server logs from the scope it made, after the answer began; uvicorn's access log prints its query string.
    So the outermost layer cleans that scope and sends the copy inward. Without keys the same scope is returned.
    """
    query = scope.get("query_string", b"")
    clean = without_keys(query)
    if clean == query:
        return scope
    inner = {**scope}
    scope["query_string"] = clean
    return inner


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))
