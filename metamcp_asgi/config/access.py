"""The ``endpoints`` and ``apiKeys`` of a document: what is published, and to whom.

A key leaves this room only as its digest. Knows nothing of servers.
"""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from metamcp_asgi.config.node import Node
from metamcp_asgi.config.oauth import compile_oauth
from metamcp_asgi.config.snapshot import ClientRateLimit, Endpoint, Key, Principal, RateLimit, digest_of

__all__ = ["compile_endpoints", "compile_keys", "default_endpoints", "warn_of_locked"]

logger = logging.getLogger(__name__)

MIN_KEY: Final = 16
"""Characters below which a key could be guessed; MetaMCP's own have 70."""

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]+")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 5.6.2


def compile_endpoints(node: Node, namespaces: Collection[str]) -> dict[str, Endpoint]:
    """Compile ``endpoints``.

    Args:
        node: The object of endpoints.
        namespaces: The names of the namespaces that there are.

    Raises:
        ConfigError: An endpoint is wrong.
    """
    endpoints = {}
    for name, entry in node.entries():
        if not _NAME.fullmatch(name):
            raise entry.error("an endpoint's name may only have letters, digits, _ and -")
        given = entry.read(
            {
                "namespace": lambda namespace: namespace.reference("namespace", namespaces),
                "apiKeyAuth": Node.flag,
                "oauth": compile_oauth,
                "queryParamAuth": Node.flag,
                "rateLimit": _rate_limit,
                "clientRateLimit": _client_rate_limit,
            },
            required=("namespace",),
        )
        endpoints[name] = Endpoint(
            name=name,
            namespace=given["namespace"],
            api_key_auth=given.get("apiKeyAuth", True),
            oauth=given.get("oauth"),
            query_param_auth=given.get("queryParamAuth", False),
            rate_limit=given.get("rateLimit"),
            client_rate_limit=given.get("clientRateLimit"),
        )
    return endpoints


def default_endpoints(namespaces: Iterable[str], *, locked: bool) -> dict[str, Endpoint]:
    """Return an endpoint for each namespace, under its name.

    Args:
        namespaces: The names of the namespaces.
        locked: Whether they require an API key.
    """
    return {name: Endpoint(name=name, namespace=name, api_key_auth=locked) for name in namespaces}


def compile_keys(node: Node, endpoints: Collection[str]) -> dict[bytes, Key]:
    """Compile ``apiKeys``.

    Args:
        node: The list of keys.
        endpoints: The names of the endpoints that there are.

    Returns:
        The keys by their digests.

    Raises:
        ConfigError: A key is wrong; the message never contains it.
    """
    keys: dict[bytes, Key] = {}
    paths: dict[object, str] = {}  # of every name and digest so far
    for entry in node.items():
        given = entry.read(
            {
                "name": Node.text,
                "key": _key,
                "digest": _digest,
                "endpoints": lambda opened: frozenset(each.reference("endpoint", endpoints) for each in opened.items()),
            },
            required=("name",),
        )
        if ("key" in given) == ("digest" in given):
            raise entry.error('needs "key", or instead of it "digest"')
        how = "key" if "key" in given else "digest"
        digest: bytes = given[how]
        for field, value in (("name", given["name"]), (how, digest)):
            if value in paths:
                raise entry.at(field).error(f"is the same as at {paths[value]}; each key needs its own")
            paths[value] = f"{entry.path}.{field}"
        # By its name, so that a rotated key keeps its principal, and with it the sessions that are bound to that.
        principal = Principal.of_key(given["name"], given["name"], digest)
        keys[digest] = Key(digest=digest, principal=principal, endpoints=given.get("endpoints"))
    return keys


def warn_of_locked(endpoints: Mapping[str, Endpoint], keys: Mapping[bytes, Key]) -> None:
    """Log a warning for each endpoint that requires a key while no key opens it."""
    if any(key.endpoints is None for key in keys.values()):
        return
    opened = frozenset[str]().union(*(key.endpoints or () for key in keys.values()))
    for name, endpoint in endpoints.items():
        if endpoint.api_key_auth and endpoint.oauth is None and name not in opened:
            logger.warning('endpoint "%s" requires an API key, and no key in "apiKeys" opens it', name)


def _rate_limit(node: Node) -> RateLimit:
    given = node.read({"maxRate": _max_rate, "maxRateSeconds": _seconds}, required=("maxRate", "maxRateSeconds"))
    return RateLimit(given["maxRate"], given["maxRateSeconds"])


def _client_rate_limit(node: Node) -> ClientRateLimit:
    given: dict[str, Any] = node.read(
        {
            "maxRate": _max_rate,
            "maxRateSeconds": _seconds,
            "strategy": lambda strategy: strategy.choice(("ip", "header", "principal")),
            "header": _header,
        },
        required=("maxRate", "maxRateSeconds", "strategy"),
    )
    strategy = given["strategy"]
    if strategy == "header" and "header" not in given:
        raise node.error('needs "header", the name of the header that tells clients apart')
    if strategy != "header" and "header" in given:
        raise node.error(f'"header" does not go with "strategy": "{strategy}"; the strategy for it is "header"')
    return ClientRateLimit(given["maxRate"], given["maxRateSeconds"], given.get("header"), strategy == "principal")


def _max_rate(node: Node) -> int:
    return node.integer(least=1)


def _seconds(node: Node) -> float:
    return node.number(least=1)


def _header(node: Node) -> str:
    name = node.text()
    if not _TOKEN.fullmatch(name):
        raise node.error("must be the name of an HTTP header")
    return name.lower()


def _key(node: Node) -> bytes:
    key = node.text(empty=True)
    if len(key) < MIN_KEY:
        raise node.error(f"must have at least {MIN_KEY} characters")
    if not re.fullmatch(r"[\x21-\x7e]+", key):
        raise node.error("must be ASCII without spaces, or no client could send it in a header")
    return digest_of(key)


def _digest(node: Node) -> bytes:
    """Read what an export writes in place of a key, which it can't know."""
    found = re.fullmatch(r"sha256:([0-9a-f]{64})", node.text(empty=True))
    if not found:
        raise node.error('must be "sha256:" and the 64 hexadecimal digits (0-9, a-f) of the key\'s SHA-256 digest')
    return bytes.fromhex(found[1])
