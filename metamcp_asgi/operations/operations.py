"""The pages of those who run a gateway, by their paths."""

from collections.abc import Mapping

from starlette.types import ASGIApp

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.config.source import SnapshotSource
from metamcp_asgi.metrics.counts import Metrics
from metamcp_asgi.operations.exposition import Exposition
from metamcp_asgi.operations.ready import Check, Ready

__all__ = ["Operations"]


class Operations:
    """``/ready`` and ``/metrics``.

    Args:
        metrics: What is counted.
        aggregator: Knows the servers.
        bus: Reaches the other processes.
        source: Where the configuration is from, which is loaded before the first request is answered.
        opened: Whether anybody may see the numbers.
    """

    def __init__(
        self, metrics: Metrics, aggregator: Aggregator, bus: Bus, source: SnapshotSource | None, *, opened: bool
    ) -> None:
        self.ending = False
        """Whether the process is about to end."""
        checks: dict[str, Check] = {"the other processes cannot be reached (is Redis away?)": lambda: bus.get("ready")}
        if source is not None:
            checks["the database cannot be reached"] = source.check
        self._ready = Ready(checks, lambda: self.ending)
        self.numbers = Exposition(metrics, aggregator, self._ready, opened=opened)

    @property
    def sites(self) -> Mapping[str, ASGIApp]:
        """The pages."""
        return {"/ready": self._ready, "/metrics": self.numbers}
