"""Rate limits per endpoint and per client, as MetaMCP's README documents them.

Knows the limits and the client's principal, address or header. Knows nothing of keys, nor of what a request asks for:
every request of every method counts as one. The headers are those of draft-ietf-httpapi-ratelimit-headers, in its
revisions with a single ``RateLimit`` field.
"""

import logging
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import TypeAlias

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.asgi.bucket import Bucket, Buckets, Take, WhenAway
from metamcp_asgi.asgi.fixed import always
from metamcp_asgi.config.snapshot import ClientRateLimit, digest_of
from metamcp_asgi.config.snapshot import RateLimit as EndpointRateLimit
from metamcp_asgi.errors import MetaMCPError

__all__ = ["Policy", "RateLimit", "policy_of_endpoint"]

Policy: TypeAlias = tuple[EndpointRateLimit | None, ClientRateLimit | None]

logger = logging.getLogger("metamcp")

_Taken: TypeAlias = tuple[Bucket | None, Bucket | None, Bucket | None, float]
"""The empty bucket that refuses, the client's and the endpoint's, and the moment of their taking."""

_CREDENTIALS = (b"authorization", b"x-api-key")
_LONGEST_VALUE = 64
"""Bytes of a client's header value past which its digest stands for it, so that 10,000 clients stay small."""


def policy_of_endpoint(scope: Scope) -> Policy:
    """Return the limits of the endpoint that ``NamespaceRouter`` put into the scope."""
    endpoint = scope["metamcp.endpoint"]
    return endpoint.rate_limit, endpoint.client_rate_limit


class _Limited:
    """One endpoint under its present limits, with what can be prepared of its answers."""

    __slots__ = ("bucket", "by_principal", "client_header", "client_limit", "limit", "number", "policy_header")

    def __init__(self, limit: EndpointRateLimit | None, client_limit: ClientRateLimit | None, number: int) -> None:
        self.number = number
        self.limit = limit
        self.client_limit = client_limit
        self.bucket = None if limit is None else Bucket(limit.max_rate, limit.seconds)
        header = None if client_limit is None else client_limit.header
        self.client_header = None if header is None else header.lower().encode("latin-1")
        # Authenticate took the credentials away and left the principal; per key is what was meant.
        self.by_principal = client_limit is not None and (
            client_limit.by_principal or self.client_header in _CREDENTIALS
        )
        named = ((b"client", client_limit), (b"endpoint", limit))
        self.policy_header = (
            b"ratelimit-policy",
            b", ".join(
                b'"%s";q=%d;w=%d' % (name, policy.max_rate, math.ceil(policy.seconds))
                for name, policy in named
                if policy is not None
            ),
        )


class RateLimit:
    """Refuse requests over an endpoint's limit with 503, and over a client's own limit with 429.

    Both are token buckets that start full. The client's is asked first, and a request that one refuses takes nothing
    from the other. Every answer of a limited endpoint says in ``RateLimit`` what is left, a refusal also in
    ``Retry-After`` when to come again. Limits belong to the endpoint's name, so they outlast a new snapshot; changed
    ones start anew. Each process counts for itself, unless ``take`` reaches buckets that all share; then the answers
    are the same, exact over all processes.

    Args:
        app: The application inside.
        policy: The endpoint's and the client's limit: fixed, or found in the scope (``policy_of_endpoint``).
        clock: Seconds, never going backwards.
        take: Takes from buckets that many processes share; ``None``: they are in this process's memory.
        when_away: What happens while shared buckets cannot be reached: ``local`` counts in this process's memory,
            ``refuse`` answers 503.

    Example::

        from metamcp_asgi.asgi.ratelimit import RateLimit
        from metamcp_asgi.config.snapshot import ClientRateLimit

        async def hello(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"hello"})

        app = RateLimit(hello, (None, ClientRateLimit(max_rate=2, seconds=60)))
    """

    def __init__(
        self,
        app: ASGIApp,
        policy: Callable[[Scope], Policy] | Policy,
        clock: Callable[[], float] = time.monotonic,
        *,
        take: Take | None = None,
        when_away: WhenAway = "local",
    ) -> None:
        self.app = app
        self._take = take
        self._when_away = when_away
        self._policy = policy if callable(policy) else always(policy)
        self._clock = clock
        self._limited: dict[str, _Limited] = {}
        self._clients = Buckets()
        self._numbers = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count one request, and pass it on or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit, client_limit = self._policy(scope)
        if limit is None and client_limit is None:
            await self.app(scope, receive, send)
            return
        endpoint = scope.get("metamcp.endpoint")
        name = "" if endpoint is None else endpoint.name
        limited = self._limited.get(name)
        if limited is None or limited.limit is not limit or limited.client_limit is not client_limit:
            limited = self._renew(name, limit, client_limit)

        if self._take is not None:
            try:
                empty, client, bucket, now = await self._take_shared(self._take, limited, name, scope)
            except MetaMCPError as error:
                if self._when_away == "refuse":
                    body = {"error": "Rate limits cannot be checked", "message": "Please try again in a moment."}
                    logger.debug("Refused: %s", error)
                    await self._refuse(scope, send, 503, body, 1.0, [])
                    return
                empty, client, bucket, now = self._take_here(limited, scope)
        else:
            empty, client, bucket, now = self._take_here(limited, scope)
        headers = _headers(limited, client, bucket, now)
        if empty is None:
            await self.app(scope, receive, partial(_stamp, send, headers))
        elif empty is client and client_limit is not None:
            said = f"Rate limit exceeded: {client_limit.max_rate} requests per {client_limit.seconds:g} second/s"
            await self._refuse(scope, send, 429, {"error": said}, empty.wait(now), headers)
        else:
            body = {
                "error": "Rate limit exceeded",
                "message": "The endpoint is busy; Retry-After says when to try again.",
            }
            await self._refuse(scope, send, 503, body, empty.wait(now), headers)

    def _take_here(self, limited: _Limited, scope: Scope) -> _Taken:
        """Take from the buckets in this process's memory."""
        now = self._clock()
        bucket = limited.bucket
        client: Bucket | None = None
        if limited.client_limit is not None:
            # The policy's number is part of the key: a changed one finds no old bucket.
            key = (limited.number, _client(scope, limited))
            client = self._clients.get(key, limited.client_limit.max_rate, limited.client_limit.seconds)
            if client.wait(now):
                return client, client, bucket, now
        if bucket is not None:
            if bucket.wait(now):
                return bucket, client, bucket, now
            bucket.take(now)
        if client is not None:
            client.take(now)
        return None, client, bucket, now

    async def _take_shared(self, take: Take, limited: _Limited, name: str, scope: Scope) -> _Taken:
        """Take from the buckets that all processes share."""
        wanted: list[tuple[str, int, float]] = []
        limit, client_limit = limited.limit, limited.client_limit
        if client_limit is not None:
            # ``repr`` keeps a header's value and an address apart.
            name_of_client = f"client {_client(scope, limited)!r}"
            wanted.append((name_of_client, client_limit.max_rate, client_limit.seconds))
        if limit is not None:
            wanted.append(("endpoint", limit.max_rate, limit.seconds))
        empty, debts = await take(name, wanted)
        now = self._clock()
        found = [Bucket.owing(size, seconds, debt, now) for (_, size, seconds), debt in zip(wanted, debts, strict=True)]
        client = None if client_limit is None else found[0]
        return None if empty < 0 else found[empty], client, None if limit is None else found[-1], now

    def _renew(self, name: str, limit: EndpointRateLimit | None, client_limit: ClientRateLimit | None) -> _Limited:
        """Take over new limits; an equal endpoint limit of a new snapshot keeps the bucket."""
        old = self._limited.get(name)
        self._numbers += 1
        limited = self._limited[name] = _Limited(limit, client_limit, self._numbers)
        if old is not None and old.limit == limit:
            limited.bucket = old.bucket
        if old is not None and old.client_limit == client_limit:
            limited.number = old.number
        return limited

    @staticmethod
    async def _refuse(
        scope: Scope, send: Send, status: int, body: dict[str, str], wait: float, headers: list[tuple[bytes, bytes]]
    ) -> None:
        headers.append((b"retry-after", b"%d" % math.ceil(wait)))
        await send_refusal(scope, send, status, body, headers)


def _stamp(send: Send, headers: list[tuple[bytes, bytes]], message: Message) -> Awaitable[None]:
    """Add the headers to an answer, in a copy: applications may use one prepared message for many answers."""
    if message["type"] == "http.response.start":
        message = {**message, "headers": [*message.get("headers", ()), *headers]}
    return send(message)


def _headers(limited: _Limited, client: Bucket | None, bucket: Bucket | None, now: float) -> list[tuple[bytes, bytes]]:
    """Return ``RateLimit`` and ``RateLimit-Policy``: ``r`` requests are left, and in ``t`` seconds one more."""
    items = [] if client is None else [_item(b"client", client, now)]
    if bucket is not None:
        items.append(_item(b"endpoint", bucket, now))
    return [(b"ratelimit", b", ".join(items)), limited.policy_header]


def _item(name: bytes, bucket: Bucket, now: float) -> bytes:
    left, seconds = bucket.left(now)
    return b'"%s";r=%d;t=%d' % (name, left, math.ceil(seconds))


def _client(scope: Scope, limited: _Limited) -> Hashable:
    """Return what tells clients apart: the principal, or the value of a header, else the address."""
    header = limited.client_header
    if limited.by_principal:
        principal = scope.get("metamcp.principal")
        if principal is not None and principal.kind != "anonymous":
            return str(principal.id)
    if header is not None:
        for name, value in scope["headers"]:
            if name == header:
                return bytes(value) if len(value) <= _LONGEST_VALUE else digest_of(value)
    client = scope.get("client")
    return str(client[0]) if client else ""
