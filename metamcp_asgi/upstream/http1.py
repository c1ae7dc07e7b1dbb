"""The HTTP/1.1 client of the upstream path: sends one request to a target, returns its response.

Knows targets, and that the next connection comes from a pool. Does not retry, follow redirects, keep cookies,
decompress, or limit the time of anything but connecting: callers put ``asyncio.timeout`` around ``send`` and ``chunk``.
Cancelling either leaves nothing behind.
"""

import asyncio
import os
import ssl
from collections.abc import Iterable, Mapping
from weakref import WeakValueDictionary

from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.upstream.http1_dial import default_tls_context
from metamcp_asgi.upstream.http1_pool import Pool
from metamcp_asgi.upstream.http1_response import HTTPLimits, Response
from metamcp_asgi.upstream.http1_target import Origin, ProxyRules, parse_url, request_tail

__all__ = ["HTTPClient", "HTTPLimits", "Response", "Target"]

_COPIED_BODY = 65536
"""Bytes up to which a body is copied behind its head: one small copy is cheaper than a second segment."""


_DEFAULT_LIMITS = HTTPLimits()


class Target:
    """One server's URL and headers, checked and ready to send; made by ``HTTPClient.target``."""

    __slots__ = ("path", "pool", "tail")

    def __init__(self, pool: Pool, path: str, tail: bytes) -> None:
        self.pool = pool
        self.path = path
        self.tail = tail

    @property
    def origin(self) -> Origin:
        """Host, port, TLS and proxy."""
        return self.pool.origin

    def __repr__(self) -> str:
        return f"<Target {self.origin.name}>"  # Path, query and headers may hold credentials.


class HTTPClient:
    """Sends requests over kept-alive connections. Belongs to the event loop in which it first sends.

    Args:
        limits: What servers may cost us.
        ssl_context: For ``https``; by default a verifying one, made when the first such target is connected.
        environ: Where ``HTTPS_PROXY``, ``HTTP_PROXY`` and ``NO_PROXY`` are read from, once.
        guard: Judges the addresses that are connected to, for URLs of somebody else's. There must be no proxy then.
    """

    __slots__ = ("_closed", "_guard", "_limits", "_pools", "_rules", "_ssl_context")

    def __init__(
        self,
        limits: HTTPLimits = _DEFAULT_LIMITS,
        *,
        ssl_context: ssl.SSLContext | None = None,
        environ: Mapping[str, str] = os.environ,
        guard: Guard | None = None,
    ) -> None:
        self._guard = guard
        self._limits = limits
        self._ssl_context = ssl_context
        self._rules = ProxyRules(environ)
        self._closed = False
        # A pool lives as long as a target or a connection of it: servers come and go with the configuration.
        self._pools: WeakValueDictionary[Origin, Pool] = WeakValueDictionary()

    def target(self, url: str, headers: Iterable[tuple[str, str]] = ()) -> Target:
        """Check and compile where to send requests.

        Args:
            url: ``http`` or ``https``, without user information.
            headers: Sent with every request; ``Host`` and ``User-Agent`` replace ours.

        Raises:
            ConfigError: The URL, a header or the proxy's URL is not usable.
        """
        origin, path = parse_url(url, self._rules)
        tail = request_tail(origin, path, headers)
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(origin, self._limits, self._tls, self._guard)
            pool.closed = self._closed
        return Target(pool, path, tail)

    async def send(self, target: Target, method: bytes, headers: bytes = b"", body: bytes | None = None) -> Response:
        r"""Send one request; return when its response is complete, or at the head of an event stream.

        Args:
            target: Where to.
            method: In capitals.
            headers: Complete lines, ``b"Accept: */*\r\n"``, which are not checked again.
            body: With it goes its ``Content-Length``.

        Raises:
            UpstreamUnavailable: Not reached, or broken off; ``sent`` says whether the server may have seen it.
            UpstreamProtocolError: The answer is not HTTP, or exceeds a limit.
        """
        if body is None:
            head = b"%b%b%b\r\n" % (method, target.tail, headers)
        elif len(body) <= _COPIED_BODY:
            head = b"%b%b%bContent-Length: %d\r\n\r\n%b" % (method, target.tail, headers, len(body), body)
            body = None
        else:
            head = b"%b%b%bContent-Length: %d\r\n\r\n" % (method, target.tail, headers, len(body))
        pool = target.pool
        connection = pool.take() or await pool.acquire()
        waiter = connection.request(head, body, head_only=method == b"HEAD")
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                connection.close()
            elif waiter.exception() is None:  # It came together with the cancellation; nobody will read it.
                waiter.result().close()
            raise

    async def aclose(self) -> None:
        """Close all connections; requests in flight fail, and so does every later one."""
        self._closed = True
        for pool in list(self._pools.values()):
            await pool.aclose()

    def _tls(self) -> ssl.SSLContext:
        if self._ssl_context is None:
            self._ssl_context = default_tls_context()
        return self._ssl_context
