"""A server by itself, published under its own names, for who wants to see what it offers before anything is made of it.

Such an endpoint and its namespace have a name that no configured one can have. Knows the configuration only; who may
use them, whoever leads there decides.
"""

from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from metamcp_asgi.config.snapshot import Endpoint, Namespace, Principal, Snapshot

__all__ = ["endpoint_for", "namespace_for", "stays", "with_alone"]

_PREFIX: Final = "server:"
"""No name of an endpoint or a namespace has a colon."""


def endpoint_for(server: str) -> Endpoint:
    """Return the endpoint of one server.

    Args:
        server: The name by which the snapshot knows it.
    """
    return Endpoint(name=_named(server), namespace=_named(server))


def namespace_for(server: str) -> Namespace:
    """Return the namespace of one server.

    Args:
        server: As for ``endpoint_for``.
    """
    return Namespace(name=_named(server), servers=(server,), prefix="never")


def with_alone(snapshot: Snapshot, servers: Collection[str]) -> Snapshot:
    """Return a snapshot that has some of its servers by themselves, too.

    Args:
        snapshot: What is to be served.
        servers: The names by which it knows them.
    """
    if not servers:
        return snapshot
    return replace(
        snapshot,
        namespaces={**snapshot.namespaces, **{_named(server): namespace_for(server) for server in servers}},
        endpoints={**snapshot.endpoints, **{_named(server): endpoint_for(server) for server in servers}},
    )


def stays(snapshot: Snapshot, endpoint: str, principal: Principal) -> bool:
    """Tell whether somebody who listens to a server by itself may go on: both are still there, and they may see it.

    They may see what is public or their own, and admins see all. A server whose owner changes has another name then.

    Args:
        snapshot: What is served from now on.
        endpoint: The endpoint's name, which may be any.
        principal: Who was led there.
    """
    server = endpoint.removeprefix(_PREFIX)
    config = snapshot.servers.get(server) if server != endpoint else None
    if config is None or principal.id not in snapshot.people:
        return False
    return config.owner in ("", principal.user) or principal.id in snapshot.admins


def _named(server: str) -> str:
    return f"{_PREFIX}{server}"
