"""What a gateway with a store serves beside its endpoints: which sites there are, and what each is made of."""

from collections.abc import Callable, Mapping

from starlette.types import ASGIApp

from metamcp_asgi.admin.api.application import PREFIX, management_api
from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.source import StoreSource

__all__ = ["sites"]


def sites(
    source: StoreSource, aggregator: Aggregator, snapshot: Callable[[], Snapshot], settings: Settings
) -> Mapping[str, ASGIApp]:
    """Return the sites by their paths, for ``asgi.beside.Beside``.

    Args:
        source: The store.
        aggregator: What runs.
        snapshot: Gives what is served at the time.
        settings: How the gateway runs.
    """
    management = management_api(
        source.opened,
        aggregator,
        lambda: snapshot().keys,
        hosts=settings.allowed_hosts,
        origins=settings.allowed_origins,
        max_body_bytes=settings.max_body_bytes,
        used=source.used,
        app_url=settings.app_url,
    )
    return {PREFIX: management}
