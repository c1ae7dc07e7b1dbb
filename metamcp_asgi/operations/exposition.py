"""``/metrics``: the numbers of a gateway in the formats that Prometheus reads.

They are for this machine and for whoever has an administrator's key, or, if a setting says so, for everybody: the
names of tools and servers may tell a lot. A request that came through a proxy is nobody's of this machine.
"""

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from starlette.types import Receive, Scope, Send

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.metrics.counts import Metrics
from metamcp_asgi.metrics.numbers import Numbers
from metamcp_asgi.metrics.sheet import BOUNDS
from metamcp_asgi.operations.ready import Ready

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["Admits", "Exposition", "is_local"]

Admits: TypeAlias = Callable[[Scope], Awaitable[tuple[int, str] | None]]
"""Tells of a request why it is not an administrator's, as a status and a sentence; ``None`` when it is."""

_PROXIES: Final = frozenset({b"x-forwarded-for", b"x-real-ip", b"forwarded", b"via"})
_LABELS: Final = ("endpoint", "server", "method", "tool")


class Exposition:
    """An ASGI application that shows the numbers.

    Args:
        metrics: The numbers.
        aggregator: Knows the servers, as this process sees them.
        ready: Tells what this process lacks to be ready.
        opened: Whether anybody may see them.
    """

    def __init__(self, metrics: Metrics, aggregator: Aggregator, ready: Ready, *, opened: bool) -> None:
        self.admits: Admits | None = None
        """Tells whether a request is an administrator's; ``None`` where there are none."""
        self._metrics = metrics
        self._aggregator = aggregator
        self._ready = ready
        self._opened = opened
        self._writing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        refused = None if self._opened or is_local(scope) else await self._refused(scope)
        if refused is not None:
            challenge = [(b"www-authenticate", b'Bearer realm="MetaMCP management"')] if refused[0] == 401 else []
            await send_refusal(scope, send, refused[0], {"error": "Access denied", "message": refused[1]}, challenge)
            return
        if scope["method"] not in ("GET", "HEAD"):
            body = {"error": "Method not allowed", "message": "This URL takes GET and HEAD"}
            await send_refusal(scope, send, 405, body, [(b"allow", b"GET, HEAD")])
            return
        accept = b", ".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
        missing = await self._ready.missing()
        states = {name: server.state for name, server in self._aggregator.pool.servers.items()}
        # One at a time, and not in the event loop: with thousands of series it is a second's work.
        async with self._writing:
            content, kind = await asyncio.to_thread(self._written, accept, states, missing)
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content))]
        await send(
            {"type": "http.response.start", "status": 200, "headers": [*headers, (b"cache-control", b"no-store")]}
        )
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})

    async def _refused(self, scope: Scope) -> tuple[int, str] | None:
        if self.admits is None:
            return 403, "The numbers are shown to this machine only; METAMCP_OPEN_METRICS=true shows them to everybody."
        return await self.admits(scope)

    def _written(self, accept: str, states: Mapping[str, str], missing: Sequence[str]) -> tuple[bytes, str]:
        from prometheus_client.exposition import choose_encoder
        from prometheus_client.registry import CollectorRegistry

        numbers = self._metrics.snapshot()

        class Collected:
            def collect(self) -> "Iterator[Metric]":
                return _families(numbers, states, missing)

        registry = CollectorRegistry(auto_describe=False)
        registry.register(Collected())
        encode, kind = choose_encoder(accept)
        return encode(registry), kind


def is_local(scope: Scope) -> bool:
    """Tell whether a request was sent by a program of this machine, to this machine by its own name.

    A web page cannot pass for one, nor can a client behind a proxy here that says that it is one.
    """
    client = scope.get("client")
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if client is None or len(hosts) != 1 or any(name in _PROXIES for name, _ in scope["headers"]):
        return False
    host = hosts[0].decode("latin-1").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return _is_loopback(client[0]) and (name == "localhost" or _is_loopback(name))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _families(numbers: Numbers, states: Mapping[str, str], missing: Sequence[str]) -> "Iterator[Metric]":
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    def single(family: Any, name: str, text: str, value: float) -> "Metric":
        made: Metric = family(f"metamcp_{name}", text, value=value)
        return made

    calls = CounterMetricFamily(
        "metamcp_calls", "Calls of clients that have ended, by how.", labels=[*_LABELS, "outcome"]
    )
    seconds = HistogramMetricFamily("metamcp_call_seconds", "How long calls of clients took.", labels=_LABELS)
    for key, each in numbers.series.items():
        for outcome, number in each.outcomes.items():
            if number:
                calls.add_metric([*key, outcome], number)
        seconds.add_metric(list(key), _buckets(each.histogram), each.seconds)
    yield calls
    yield seconds
    fixed = numbers.fixed
    answers = CounterMetricFamily(
        "metamcp_http_responses", "Requests that have ended, by status; none is a client that left.", labels=["status"]
    )
    for kind in range(6):
        answers.add_metric([f"{kind}xx" if kind else "none"], fixed[f"http_{kind}"])
    yield answers
    yield single(GaugeMetricFamily, "http_requests_in_flight", "Requests being answered.", fixed["http_in_flight"])
    yield single(GaugeMetricFamily, "streams", "Open streams on which clients wait for news.", fixed["streams"])
    yield single(GaugeMetricFamily, "children", "Child processes of stdio servers.", fixed["children"])
    yield single(GaugeMetricFamily, "parked_calls", "Calls that wait for an answer of a user.", fixed["parked"])
    yield single(CounterMetricFamily, "sessions_opened", "Sessions that clients have opened.", fixed["sessions"])
    yield single(GaugeMetricFamily, "processes", "Processes whose numbers these are.", numbers.processes)
    servers = GaugeMetricFamily(
        "metamcp_server_up", "Whether a server is ready, as the process that answers sees it.", labels=["server"]
    )
    for name, state in states.items():
        servers.add_metric([name], float(state == "ready"))
    yield servers
    lacking = GaugeMetricFamily(
        "metamcp_ready", "Whether the process that answers lacks nothing: its bus, its database.", labels=["missing"]
    )
    lacking.add_metric(["; ".join(missing)], float(not missing))
    yield lacking


def _buckets(histogram: Sequence[int]) -> list[tuple[str, float]]:
    """Return how many calls took so long at most, for each bound."""
    buckets, seen = [], 0
    for bound, number in zip((*BOUNDS, float("inf")), histogram, strict=True):
        seen += number
        buckets.append(("+Inf" if bound == float("inf") else str(bound), float(seen)))
    return buckets
