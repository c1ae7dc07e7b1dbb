"""Traces, as a collector of OpenTelemetry's gets them over HTTP."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.snapshot import ANONYMOUS
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.gateway import Gateway
from metamcp_asgi.operations import telemetry
from metamcp_asgi.operations.telemetry import NoSpans, Spans, spans
from metamcp_asgi.protocol.outcome import Result
from metamcp_asgi.settings import Settings
from tests.gateway.client import Client
from tests.gateway.running import RunningGateway, document_of, served
from tests.gateway.upstreams.raw import RawServer

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
SECRET = "hunter2hunter2"

in_module = pytest.mark.asyncio(loop_scope="module")


class Collector:
    """Receives spans, as an OTLP/HTTP endpoint."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.service = ""
        self.paths: set[str] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.paths.add(scope["path"])
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.service = attributes["service.name"]
            for scoped in resource.scope_spans:
                self.spans.extend(scoped.spans)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Traced:
    """A gateway, its server, and what a collector got of both."""

    def __init__(self, collector: Collector, running: RunningGateway, server: RawServer) -> None:
        self.collector = collector
        self.gateway = running.gateway
        self.client: Client = running.client()
        self.server = server

    async def spans(self) -> dict[str, Any]:
        """Returns the spans of since the last time, by their names."""
        provider = self.gateway._spans._provider
        await asyncio.to_thread(provider.force_flush)
        found, self.collector.spans = self.collector.spans, []
        return {span.name: span for span in found}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traced() -> AsyncIterator[Traced]:
    collector, server = Collector(), RawServer("modern", ("echo",))
    patch = pytest.MonkeyPatch()
    async with served(collector, "off") as collecting, served(server) as port:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collecting}")
        document = document_of({"raw": {"url": f"http://127.0.0.1:{port}/mcp"}})
        gateway = Gateway(compile_document(document, environ={}), Settings())
        async with served(gateway, "on") as own:
            for catalogue in gateway.aggregator.catalogues.values():
                await catalogue.ready()
            yield Traced(collector, RunningGateway(gateway, own), server)
            gateway.close_streams()
    patch.undo()


def attributes(span: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in span.attributes}


@in_module
@pytest.mark.parametrize("where", ["header", "meta"])
async def test_a_call_is_part_of_the_clients_trace_and_so_is_the_servers(traced: Traced, where: str) -> None:
    how: dict[str, Any] = {"meta": {"traceparent": PARENT}}
    if where == "header":
        how = {"headers": [("traceparent", PARENT)]}
    assert (await traced.client.call("raw__echo", {"secret": SECRET}, **how)).status == 200
    found = await traced.spans()
    call, request = found["tools/call echo"], found["tools/call raw"]
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (TRACE, SPAN)
    assert (request.trace_id.hex(), request.parent_span_id) == (TRACE, call.span_id)
    assert traced.collector.paths == {"/v1/traces"}
    assert traced.collector.service == "metamcp"
    told = traced.server.last("tools/call")
    expected = f"00-{TRACE}-{request.span_id.hex()}-01"
    assert told.header("traceparent") == [expected.encode()]
    assert told.params["_meta"]["traceparent"] == expected
    assert attributes(call) == {
        "mcp.method.name": "tools/call",
        "metamcp.endpoint": "open",
        "metamcp.server": "raw",
        "metamcp.outcome": "ok",
    }
    assert SECRET not in str(found)


@in_module
async def test_who_brings_no_trace_begins_one(traced: Traced) -> None:
    await traced.client.call("raw__echo")
    found = await traced.spans()
    call, request = found["tools/call echo"], found["tools/call raw"]
    assert call.parent_span_id == b""
    assert call.trace_id.hex() != TRACE
    assert request.trace_id == call.trace_id
    assert traced.server.last("tools/call").header("traceparent")[0].split(b"-")[1] == call.trace_id.hex().encode()


@in_module
async def test_a_legacy_client_is_traced_as_well(traced: Traced) -> None:
    session = await traced.client.session()
    assert (await session.call("raw__echo")).status == 200
    assert "tools/call raw" in await traced.spans()


@in_module
async def test_what_fails_says_so_and_no_more(traced: Traced) -> None:
    await traced.client.call(f"raw__{SECRET}", {"x": SECRET})
    span = (await traced.spans())["tools/call"]
    assert attributes(span)["metamcp.outcome"] == "unknown"
    assert span.status.code == 2
    assert span.status.message == ""
    assert not span.events
    assert SECRET not in str(span)


async def test_a_collector_that_says_nothing_holds_up_the_end_for_a_moment_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(telemetry, "FLUSH_SECONDS", 0.2)
        made = spans()
        made.open()

        async def inner(call: Call) -> Result:
            return Result(b"{}")

        await made.calling(inner)(Call("e", ANONYMOUS, "tools/call", {}))
        async with asyncio.timeout(5):
            await made.aclose()


def test_without_an_exporter_there_is_nothing_on_the_way() -> None:
    def inner() -> None: ...

    for environ in (
        {},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
    ):
        made = spans(environ)
        assert type(made) is NoSpans
        assert made.calling(inner) is inner  # type: ignore[arg-type, comparison-overlap]
    assert isinstance(spans({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}), Spans)


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_what_is_not_supported_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="OTEL_") as refused:
        spans(environ)
    assert "must be" in str(refused.value)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r'pip install "metamcp-asgi\[otel\]"'):
        spans({"OTEL_TRACES_EXPORTER": "otlp"})
