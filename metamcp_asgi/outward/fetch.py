"""One request to a URL that somebody else supplied, under a ``Guard``, by aiohttp.

The addresses that are judged are the ones that are connected to, so that a name cannot change its mind in between.
Redirects are not followed, no cookies kept, no proxy used, nothing decompressed. Imported when used.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from metamcp_asgi.errors import ConfigError, MetaMCPError
from metamcp_asgi.outward.guard import Guard, OutwardRefused

try:
    import aiohttp
    from aiohttp.abc import AbstractResolver, ResolveResult
except ImportError:
    raise ConfigError('OAuth needs aiohttp: pip install "metamcp-asgi[oauth]"') from None

__all__ = ["Answer", "Fetcher", "OutwardFailed"]

SECONDS: Final = 10.0
"""How long a whole request may take."""

MAX_BYTES: Final = 256 * 1024
"""How large an answer may be."""


class OutwardFailed(MetaMCPError):
    """A URL could not be asked, or what it gave is too large; the message is safe to show."""


class Answer(Struct, frozen=True):
    """What came back; the names of ``headers`` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> dict[str, Any] | None:
        """Return the JSON object in the body; ``None`` when there is none, or one that is there to do harm."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except (ValueError, RecursionError):  # no JSON, no object, no UTF-8; nested without end
            return None


class Fetcher:
    """Asks URLs; belongs to the event loop in which it is used first.

    Args:
        guard: Where requests may go.
        seconds: How long a whole request may take.
        ssl_context: For ``https``; a verifying one, when left out.
    """

    def __init__(self, guard: Guard, *, seconds: float = SECONDS, ssl_context: Any = None) -> None:
        self._guard = guard
        self._seconds = seconds
        self._tls = ssl_context if ssl_context is not None else True
        self._session: aiohttp.ClientSession | None = None

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> Answer:
        """Send one request, and return what came back, whatever its status.

        Args:
            url: Where to.
            method: HTTP method.
            headers: More headers.
            body: What is sent.
            max_bytes: How large the answer may be.

        Raises:
            OutwardRefused: The URL may not be asked.
            OutwardFailed: It cannot be reached, takes too long, or answers with too much.
        """
        host = self._guard.url(url).hostname or ""
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "metamcp-asgi"}
        try:
            async with self._opened().request(
                method, url, headers={**sent, **(headers or {})}, data=body, allow_redirects=False, ssl=self._tls
            ) as answer:
                content = await _limited(answer.content, max_bytes)
                return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, content)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _Inside):
                raise OutwardRefused(str(error.os_error)) from None
            raise OutwardFailed(f"{host} cannot be reached") from None
        except TimeoutError:
            raise OutwardFailed(f"{host} took longer than {self._seconds:g} seconds") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise OutwardFailed(f"{host} gave no answer that can be used") from None

    async def aclose(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_Resolver(self._guard), use_dns_cache=False, limit=16, force_close=True
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self._seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


class _Inside(OSError):
    """An address that may not be asked, in the form that aiohttp hands through."""


class _Resolver(AbstractResolver):
    """Resolves a name, and refuses it when any of its addresses is refused."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found: Sequence[Any] = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        results: list[ResolveResult] = []
        for kind, _, protocol, _, place in found:
            address = str(place[0])
            try:
                self._guard.address(host, address.partition("%")[0])
            except OutwardRefused as error:
                raise _Inside(str(error)) from None
            results.append(ResolveResult(hostname=host, host=address, port=port, family=kind, proto=protocol, flags=0))
        return results

    async def close(self) -> None:
        """Do nothing: nothing is kept open."""


async def _limited(content: aiohttp.StreamReader, most: int) -> bytes:
    chunks = bytearray()
    async for chunk in content.iter_chunked(16 * 1024):
        chunks += chunk
        if len(chunks) > most:
            raise ValueError("too large")
    return bytes(chunks)
