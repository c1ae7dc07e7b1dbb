"""Opening one connection: addresses, TCP, a proxy's tunnel, TLS; and saying in one line why it failed.

Knows sockets, TLS and CONNECT. Knows nothing of requests, pools or time limits: the caller bounds the time.
"""

import asyncio
import errno
import os
import re
import socket
import ssl
from collections import deque
from http.client import responses
from itertools import zip_longest
from typing import Any, cast

from metamcp_asgi.errors import UpstreamError, UpstreamProtocolError, UpstreamUnavailable
from metamcp_asgi.outward.guard import Guard, OutwardRefused
from metamcp_asgi.upstream.http1_target import Origin

__all__ = ["default_tls_context", "dial", "why_unreachable"]

_STAGGER = 0.25
"""Seconds that an address has before the next one is tried beside it (RFC 8305 section 5)."""

_MAX_TUNNEL_HEAD = 16384


def default_tls_context() -> ssl.SSLContext:
    """Return a verifying context that trusts the system's CAs and those of ``SSL_CERT_FILE``, and offers HTTP/1.1."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(
    origin: Origin, protocol: asyncio.Protocol, tls: ssl.SSLContext | None, guard: Guard | None = None
) -> None:
    """Connect ``protocol`` to ``origin``, through its proxy when it has one; its ``connection_made`` is called.

    Args:
        origin: Where to.
        protocol: Gets the connected transport. When this is cancelled or fails, no transport stays open.
        tls: The context for an ``https`` origin.
        guard: Judges the addresses to which the origin's name leads; it has no proxy then, which would resolve it anew.

    Raises:
        OSError: As it came from the system or from TLS; ``why_unreachable`` words it.
        OutwardRefused: One of the addresses is refused; none was connected to.
        UpstreamUnavailable: The proxy refused the tunnel.
        UpstreamProtocolError: The proxy's answer is not HTTP.
    """
    loop = asyncio.get_running_loop()
    proxy = origin.proxy
    if proxy is None or not origin.tls:
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        sock = await _connect(loop, host, port, guard)
        name = origin.host if origin.tls else None
        await loop.create_connection(lambda: protocol, sock=sock, ssl=tls, server_hostname=name)
        return
    sock = await _connect(loop, proxy.host, proxy.port)
    tunnel = _Tunnel(origin)
    transport: asyncio.Transport | None = None
    try:
        transport, _ = await loop.create_connection(lambda: tunnel, sock=sock)
        await tunnel.opened
        secured = await loop.start_tls(transport, protocol, cast("ssl.SSLContext", tls), server_hostname=origin.host)
    except BaseException:
        tunnel.opened.cancel()
        if transport is not None:
            transport.abort()
        raise
    if secured is None:
        raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
    protocol.connection_made(secured)


def why_unreachable(origin: Origin, error: Exception) -> UpstreamError:
    """Word what kept ``dial`` from reaching ``origin``.

    Args:
        origin: Where the connection was to lead.
        error: What ``dial`` raised.
    """
    if isinstance(error, UpstreamError):
        return error
    if isinstance(error, OutwardRefused):
        allowed = "members' servers must be at public ones, unless METAMCP_OUTWARD_ALLOWED names them"
        return UpstreamUnavailable(f"may not be asked: {error}; {allowed}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamUnavailable(f"the certificate of {origin.name} is not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return UpstreamUnavailable(f"no TLS with {origin.name}: {error.reason or 'handshake failed'}")
    name = origin.name if origin.proxy is None else f"{origin.name} through proxy {origin.proxy.name}"
    if isinstance(error, socket.gaierror | UnicodeError):
        host = origin.host if origin.proxy is None else origin.proxy.host
        return UpstreamUnavailable(f"cannot connect to {name}: the host name {host} is not known")
    number = getattr(error, "errno", None)
    if isinstance(error, ConnectionError) and number is None:
        number = errno.ECONNRESET
    return UpstreamUnavailable(f"cannot connect to {name}: {os.strerror(number) if number else type(error).__name__}")


async def _connect(loop: asyncio.AbstractEventLoop, host: str, port: int, guard: Guard | None = None) -> socket.socket:
    # Happy eyeballs of our own: uvloop's create_connection has no `happy_eyeballs_delay`, and an IPv6 address that
    # swallows packets would otherwise use up the whole time for connecting.
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if guard is not None:
        for *_, address in found:
            guard.address(host, str(address[0]).partition("%")[0])
    first = [info for info in found if info[0] == found[0][0]]
    other = [info for info in found if info[0] != found[0][0]]
    todo = deque(info for pair in zip_longest(first, other) for info in pair if info is not None)
    running: set[asyncio.Task[socket.socket]] = set()
    failure: BaseException = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    connected: socket.socket | None = None
    try:
        while connected is None and (todo or running):
            if todo:
                running.add(loop.create_task(_connect_to(loop, todo.popleft())))
            wait = _STAGGER if todo else None
            done, running = await asyncio.wait(running, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                error = attempt.exception()
                if error is not None:
                    failure = error
                elif connected is None:
                    connected = attempt.result()
                else:
                    attempt.result().close()
    except BaseException:
        if connected is not None:
            connected.close()
        raise
    finally:
        await _give_up(running)
    if connected is None:
        raise failure
    return connected


async def _give_up(attempts: set[asyncio.Task[socket.socket]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, socket.socket):
            outcome.close()


async def _connect_to(loop: asyncio.AbstractEventLoop, info: tuple[Any, ...]) -> socket.socket:
    family, kind, number, _, address = info
    sock = socket.socket(family, kind, number)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


class _Tunnel(asyncio.Protocol):
    """Asks a proxy for a tunnel (RFC 9110 section 9.3.6); ``opened`` is done when it stands."""

    __slots__ = ("_head", "_origin", "_transport", "opened")

    def __init__(self, origin: Origin) -> None:
        self._origin = origin
        self._head = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self._origin.proxy is not None
        to = self._origin.name
        request = f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n".encode("ascii") + self._origin.proxy.authorization
        cast("asyncio.WriteTransport", transport).write(request + b"\r\n")

    def data_received(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if self.opened.done() or (end < 0 and len(self._head) <= _MAX_TUNNEL_HEAD):
            return
        assert self._origin.proxy is not None
        proxy = self._origin.proxy.name
        match = re.match(rb"HTTP/1\.[01] ([0-9]{3})[ \r]", self._head)
        if match is None or end < 0:
            self.opened.set_exception(UpstreamProtocolError(f"proxy {proxy} answered with something that is not HTTP"))
        elif not match[1].startswith(b"2"):
            status = int(match[1])
            phrase = responses.get(status, "")
            reason = f"proxy {proxy} refused a tunnel to {self._origin.name}: {status} {phrase}".rstrip()
            self.opened.set_exception(UpstreamUnavailable(reason))
        elif len(self._head) > end + 4:
            # In TLS the client speaks first: bytes that came before it did are not the server's.
            self.opened.set_exception(UpstreamProtocolError(f"proxy {proxy} sent data before the tunnel was used"))
        else:
            self.opened.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.opened.done():
            assert self._origin.proxy is not None
            reason = f"proxy {self._origin.proxy.name} closed the connection before it answered"
            self.opened.set_exception(exc or UpstreamUnavailable(reason))
