"""The client-facing side, composed: what stands behind each leaf of an endpoint, and what all of that shares."""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.downstream.endpoint import MCPEndpoint
from metamcp_asgi.downstream.intake import Intake
from metamcp_asgi.downstream.legacy import LegacyLeg
from metamcp_asgi.downstream.legacy_requests import LegacyRequests
from metamcp_asgi.downstream.modern import ModernLeg
from metamcp_asgi.downstream.openapi import OpenAPI
from metamcp_asgi.downstream.page_news import PageNews
from metamcp_asgi.downstream.resume import Records
from metamcp_asgi.downstream.sessions import ClientSessions
from metamcp_asgi.downstream.sse import HTTPWithSSE
from metamcp_asgi.downstream.stateless import no_sse
from metamcp_asgi.downstream.streams import Streams
from metamcp_asgi.downstream.subscriptions import Subscriptions
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.settings import Settings

__all__ = ["Legs"]


class Legs:
    """The legs of one gateway, and the streams of its clients.

    Args:
        aggregator: The core.
        bus: Reaches the other processes.
        keys: Seal what clients keep for us.
        settings: How the gateway runs.
        counted: Returns what is told of one more, or one less, of something in ``metrics.sheet.FIXED``.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        bus: Bus,
        keys: KeyRing,
        settings: Settings,
        counted: Callable[[str], Callable[[int], None]],
    ) -> None:
        bounds: Final = {
            "max_body_bytes": settings.max_body_bytes,
            "max_header_bytes": settings.max_header_bytes,
            "max_depth": settings.max_json_depth,
        }
        stateless, silence, baggage = settings.stateless, settings.keepalive_seconds, settings.forward_baggage
        self.intake = intake = Intake(**bounds)
        self.streams = streams = Streams(settings.max_streams, silence, counted("streams"))
        sessions = ClientSessions(keys, bus, counted("sessions"))
        self._subscriptions = subscriptions = Subscriptions(aggregator, streams, bus)
        self._news = news = PageNews(streams, bus)
        requests = LegacyRequests(aggregator, sessions, subscriptions, news, bus, baggage=baggage, stateless=stateless)
        records = Records(bus, 0 if stateless else settings.resume_events)
        legacy = LegacyLeg(
            aggregator, requests, sessions, subscriptions, streams, records, silence, stateless=stateless
        )
        drives = settings.undeclared_tasks == "drive"
        modern = ModernLeg(aggregator, streams, silence, baggage=baggage, drives=drives)
        sse = HTTPWithSSE(aggregator, requests, subscriptions, keys, streams, intake, bus)
        self.leaves: dict[str, ASGIApp] = {
            "mcp": MCPEndpoint(modern, legacy, intake, streams=not stateless).__call__,
            "sse": no_sse if stateless else sse.stream,
            "message": no_sse if stateless else sse.message,
            "api": OpenAPI(aggregator, app_url=settings.app_url, **bounds),
        }

    async def aclose(self) -> None:
        """End what goes on for clients outside of their requests."""
        await self._subscriptions.aclose()
        await self._news.aclose()
