"""What answers MCP behind a gateway's layers: the aggregator, with its ways of asking clients and of running tasks."""

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.dispatch import Ways, send
from metamcp_asgi.aggregate.interaction.interaction import Interaction
from metamcp_asgi.aggregate.longrunning.tasks import LongRunning
from metamcp_asgi.aggregate.page import Cursor, Pager
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.downstream.identity import SERVER_INFO
from metamcp_asgi.instance import instance_of
from metamcp_asgi.metrics.counts import Metrics
from metamcp_asgi.operations.telemetry import NoSpans
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.settings import Settings
from metamcp_asgi.upstream.runtime import Runtime

__all__ = ["aggregator_for"]


def aggregator_for(
    settings: Settings, runtime: Runtime, bus: Bus, keys: KeyRing, metrics: Metrics, spans: NoSpans
) -> Aggregator:
    """Return the aggregator of a gateway.

    Args:
        settings: How to run.
        runtime: What all servers of this process share.
        bus: Reaches the other processes.
        keys: Seal what clients keep for us.
        metrics: Where calls are counted.
        spans: Where they are traced.
    """
    counted = metrics.changing
    return Aggregator(
        runtime,
        Pager(keys.sealer("c1", Cursor), settings.page_size, SERVER_INFO),
        Ways(
            Interaction(
                keys,
                bus,
                settings.input_seconds,
                settings.shutdown_seconds,
                parks=not settings.stateless,
                parked=counted("parked"),
            ),
            LongRunning(keys, bus, keeps=not settings.stateless),
            spans.sending(send),
        ),
        bus,
        Counting(bus.take, settings.limits_without_redis),
        deadline=settings.server_deadline,
        stale_seconds=settings.stale_seconds,
        idle_seconds=settings.session_idle_seconds,
        poll_seconds=settings.poll_seconds,
        instance=instance_of(settings),
        sheet=metrics.sheet,
        around=spans.calling,
    )
