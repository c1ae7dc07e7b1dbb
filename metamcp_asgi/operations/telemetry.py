"""Traces by OpenTelemetry: a span for each call of a client, and below it one for each request to a server.

A call's span continues the client's trace (``traceparent`` in ``_meta``, or the header), and a server is told of the
span of its request. Where spans go, and how many, say the ``OTEL_*`` variables, which OpenTelemetry reads itself; it is
imported only when they name an exporter, and without them nothing of this is on the way of a call.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
from msgspec import Raw

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.endings import ending_of, ending_with
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.metrics.sheet import OUTCOMES
from metamcp_asgi.protocol import trace
from metamcp_asgi.protocol.jsonrpc import encode
from metamcp_asgi.protocol.outcome import Outcome

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

__all__ = ["NoSpans", "Spans", "spans"]

Answer: TypeAlias = Callable[..., Awaitable[Any]]
Send: TypeAlias = Callable[[Call, Route], Awaitable[Outcome]]

FLUSH_SECONDS: Final = 3.0
"""How long the last spans may take to be sent when the process ends."""
_FINE: Final = ("ok", "input_required")


def spans(environ: Mapping[str, str] = os.environ) -> "NoSpans":
    """Return what makes spans, if a variable asks for it.

    Args:
        environ: The environment.

    Raises:
        ConfigError: OpenTelemetry is not installed, or asked for in a way that is not supported.
    """
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip() or ("otlp" if endpoint else "none")
    if exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return NoSpans()
    if exporter != "otlp":
        raise ConfigError('must be "otlp" or "none"', path="OTEL_TRACES_EXPORTER", source="environment")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environ.get(name, "").strip() not in ("", "http/protobuf"):
            raise ConfigError('must be "http/protobuf"', path=name, source="environment")
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401 - imported to see that they are there
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise ConfigError(
            'traces need OpenTelemetry: pip install "metamcp-asgi[otel]"', path="OTEL_*", source="environment"
        ) from None
    return Spans()


class NoSpans:
    """Makes no spans, and leaves calls as they are."""

    def open(self) -> None:
        """Begin; to be called after a fork."""

    async def aclose(self) -> None:
        """Send what is left, if whoever gets it is there."""

    def calling(self, inner: Answer) -> Answer:
        """Return what answers a call as ``inner`` does, ``dispatch``, within a span."""
        return inner

    def sending(self, inner: Send) -> Send:
        """Return what asks a server as ``inner`` does, within a span of which the server is told."""
        return inner


class Spans(NoSpans):
    """Makes spans, between ``open`` and ``aclose``."""

    def __init__(self) -> None:
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    def open(self) -> None:
        """Begin; a thread sends the spans."""
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "metamcp"}
        self._provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("metamcp_asgi")

    async def aclose(self) -> None:
        """Send what is left, if whoever gets it is there."""
        provider, self._provider, self._tracer = self._provider, None, None
        if provider is None:
            return
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def finish() -> None:
            provider.force_flush()
            provider.shutdown()
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(done.set)

        # A thread that the end of the process does not wait for: the exporter tries for ten seconds and more.
        threading.Thread(target=finish, name="send the last spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await done.wait()

    def calling(self, inner: Answer) -> Answer:
        """Return what answers a call as ``inner`` does, ``dispatch``, within a span."""

        async def answer(call: Call, *args: Any, **how: Any) -> Any:
            if self._tracer is None:
                return await inner(call, *args, **how)
            from opentelemetry.trace import SpanKind
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            carrier = {"traceparent": call.parent} if call.parent else {}
            with self._tracer.start_as_current_span(
                call.method,
                context=TraceContextTextMapPropagator().extract(carrier),
                kind=SpanKind.SERVER,
                attributes={"mcp.method.name": call.method, "metamcp.endpoint": call.endpoint},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                try:
                    return await _observed(span, call, inner(call, *args, **how))
                finally:  # which it is known now
                    if call.name:
                        span.update_name(f"{call.method} {call.name}")
                    if call.server:
                        span.set_attribute("metamcp.server", call.server)

        return answer

    def sending(self, inner: Send) -> Send:
        """Return what asks a server as ``inner`` does, within a span of which the server is told."""

        async def send(call: Call, route: Route) -> Outcome:
            if self._tracer is None:
                return await inner(call, route)
            from opentelemetry.trace import SpanKind

            with self._tracer.start_as_current_span(
                f"{call.method} {route.server.name}",
                kind=SpanKind.CLIENT,
                attributes={"mcp.method.name": call.method, "metamcp.server": route.server.name},
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                outcome: Outcome = await _observed(span, call, inner(_told(call, span), route))
            return outcome

        return send


async def _observed(span: "Span", call: Call, work: Awaitable[Any]) -> Any:
    """Await ``work`` and say in the span how it ended; never with a text, which may hold anything."""
    from opentelemetry.trace import Status, StatusCode

    ending = 0
    try:
        outcome = await work
        ending = ending_of(call, outcome)
    except BaseException as error:
        ending = ending_with(error)
        raise
    else:
        return outcome
    finally:
        span.set_attribute("metamcp.outcome", OUTCOMES[ending])
        if OUTCOMES[ending] not in _FINE:
            span.set_status(Status(StatusCode.ERROR))


def _told(call: Call, span: "Span") -> Call:
    """Return the call with the span as the parent that the server is told of."""
    context = span.get_span_context()
    parent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    return msgspec.structs.replace(
        call, meta={**call.meta, "traceparent": Raw(encode(parent))}, trace=trace.reparented(call.trace, parent)
    )
