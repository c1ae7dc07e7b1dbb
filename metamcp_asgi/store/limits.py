"""What a database takes less of than a file may say: how long, how large, and which characters.

Found before it is written, with its place in the document: PostgreSQL would refuse it without one, and SQLite keep it.
"""

from collections.abc import Iterator
from typing import Any, Final

from metamcp_asgi.config.middlewares import place_of
from metamcp_asgi.config.node import step
from metamcp_asgi.config.snapshot import Endpoint, Namespace, Snapshot
from metamcp_asgi.errors import ConfigError

__all__ = ["LARGEST_RATE", "LONGEST_HEADER", "LONGEST_NAME", "LONGEST_OWN_NAME", "check_limits"]

LONGEST_NAME: Final = 100
"""Characters of a name that people give."""
LONGEST_HEADER: Final = 200
LARGEST_RATE: Final = 2**31 - 1
LONGEST_OWN_NAME: Final = 500
"""Characters of a server's own name for a tool, which is part of an index."""


def check_limits(snapshot: Snapshot) -> None:
    """Let pass a configuration that fits into the tables.

    Args:
        snapshot: What was compiled from a document.

    Raises:
        ConfigError: Something does not fit; names its place in the document.
    """
    for path, length in _lengths(snapshot):
        if length > LONGEST_NAME:
            raise _too_long(path, length, LONGEST_NAME)
    for name, endpoint in snapshot.endpoints.items():
        _check_endpoint(step("endpoints", name), endpoint)
    for name, namespace in snapshot.namespaces.items():
        _check_values(step("namespaces", name), namespace)


def _too_long(path: str, length: int, longest: int) -> ConfigError:
    return ConfigError(f"has a name of {length} characters; the database takes {longest} at most", path=path)


def _lengths(snapshot: Snapshot) -> Iterator[tuple[str, int]]:
    for section, names in (
        ("mcpServers", snapshot.servers),
        ("namespaces", snapshot.namespaces),
        ("endpoints", snapshot.endpoints),
    ):
        for name in names:
            yield step(section, name), len(name)
    for index, key in enumerate(snapshot.keys.values()):
        yield f"apiKeys[{index}].name", len(key.principal.name)


def _check_endpoint(place: str, endpoint: Endpoint) -> None:
    for field, limit in (("rateLimit", endpoint.rate_limit), ("clientRateLimit", endpoint.client_rate_limit)):
        if limit is not None and limit.max_rate > LARGEST_RATE:
            raise ConfigError(f"must be at most {LARGEST_RATE}", path=f"{place}.{field}.maxRate")
    header = endpoint.client_rate_limit and endpoint.client_rate_limit.header
    if header and len(header) > LONGEST_HEADER:
        reason = f"has {len(header)} characters; {LONGEST_HEADER} at most"
        raise ConfigError(reason, path=f"{place}.clientRateLimit.header")


def _check_values(place: str, namespace: Namespace) -> None:
    """Look for the one character that PostgreSQL has no place for, where a file's reader lets it pass: in keys."""
    for (server, tool), override in namespace.tools.items():
        if len(tool) > LONGEST_OWN_NAME:
            raise _too_long(_tool(place, server, tool), len(tool), LONGEST_OWN_NAME)
        if "\0" in tool:
            raise ConfigError("has a null character in its name", path=_tool(place, server, tool))
        if override.annotations:
            _check_keys(step(_tool(place, server, tool), "annotations"), override.annotations)
    for index, spec in enumerate(namespace.middlewares):
        _check_keys(step(place_of(namespace.name, index), spec.name), spec.options)


def _check_keys(place: str, value: Any) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if "\0" in key:
                raise ConfigError("has a null character in its name", path=step(place, key))
            _check_keys(step(place, key), inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check_keys(f"{place}[{index}]", inner)


def _tool(place: str, server: str, tool: str) -> str:
    return step(step(place, "tools"), f"{server}__{tool}")
