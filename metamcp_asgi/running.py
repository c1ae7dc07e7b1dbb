"""What connections to servers need, as the settings say; for a gateway and for a companion alike."""

from collections.abc import Callable

from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.settings import Settings
from metamcp_asgi.upstream.companion.client import Companion
from metamcp_asgi.upstream.granted import Grants
from metamcp_asgi.upstream.hearing import Heard
from metamcp_asgi.upstream.owners import Owners
from metamcp_asgi.upstream.runtime import Runtime

__all__ = ["runtime_for"]


def runtime_for(
    settings: Settings,
    children: Callable[[int], object],
    heard: Heard,
    companion: Companion | None = None,
    grants: Grants | None = None,
    owners: Owners | None = None,
) -> Runtime:
    """Return what all servers of this process share.

    Args:
        settings: How to run.
        children: Is told of one child more, or of one less.
        heard: Is told what stdio servers write to stderr.
        companion: The process that runs stdio servers, if that is not this one.
        grants: The OAuth grants of servers.
        owners: Knows which process of a gateway of many has which session.

    Raises:
        ConfigError: The settings ask for something that this machine does not have.
    """
    return Runtime(
        max_children=settings.max_children,
        warm_spares=settings.warm_spares,
        connect_concurrency=settings.connect_concurrency,
        companion=companion,
        grants=grants,
        owners=owners,
        children=children,
        commands=settings.stdio_commands,
        limits=settings.stdio_limits,
        heard=heard,
        guard=Guard(settings.outward_allowed),
    )
