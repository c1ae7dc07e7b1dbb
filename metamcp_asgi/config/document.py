"""A ``Snapshot`` as the document that it could have been compiled from; the reverse of ``file``.

Names are in order, so that the same configuration gives the same text. Knows no file formats; what becomes of secrets
is decided by the ``Secrets`` that it is given.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from metamcp_asgi.config.dialects import escaped
from metamcp_asgi.config.grants import entry_of
from metamcp_asgi.config.middlewares import document_of_middlewares
from metamcp_asgi.config.oauth import document_of_oauth
from metamcp_asgi.config.sandbox import document_of_sandbox
from metamcp_asgi.config.sensitive import Span, in_args, in_url, plain_env, plain_header
from metamcp_asgi.config.snapshot import DEFAULT_TIMEOUT, Endpoint, Key, Namespace, Server, Snapshot, ToolOverride
from metamcp_asgi.errors import ConfigError

__all__ = ["Secrets", "document_of", "tool_key"]

_BEARER: Final = re.compile(r"Bearer ([\x21-\x7e]+)")


class Secrets(Protocol):
    """Decides how a secret is written."""

    def written(self, server: str, label: str, value: str) -> str:
        """Return the text for the document.

        Args:
            server: The name of the server that the secret belongs to.
            label: What it is called there: the name of a variable, a header, a parameter.
            value: The secret.
        """

    def within(self, server: str, text: str, spans: Sequence[Span]) -> str:
        """Return a text for the document of which only ``spans`` are secrets."""


def document_of(snapshot: Snapshot, secrets: Secrets) -> dict[str, Any]:
    """Return the document of a snapshot.

    Args:
        snapshot: What to write.
        secrets: How to write secrets.

    Raises:
        ConfigError: Something can't be said in a document: a tool whose name another tool's key would have.
    """
    document: dict[str, Any] = {
        "mcpServers": {name: _server(snapshot.servers[name], secrets) for name in sorted(snapshot.servers)},
        "namespaces": {name: _namespace(snapshot.namespaces[name]) for name in sorted(snapshot.namespaces)},
        "endpoints": {name: _endpoint(snapshot.endpoints[name]) for name in sorted(snapshot.endpoints)},
    }
    if snapshot.keys:
        by_name = sorted(snapshot.keys.values(), key=lambda key: key.principal.name)
        document["apiKeys"] = [_key(key) for key in by_name]
    return document


def tool_key(server: str, tool: str, servers: Collection[str]) -> str:
    """Return the key of a tool in a namespace's ``tools``.

    Raises:
        ConfigError: The key would be read as another tool's: a server's name ends in ``_``.
    """
    key = f"{server}__{tool}"
    for found in re.finditer(r"(?=__)", key):
        if key[: found.start()] in servers and len(key) > found.start() + 2:
            if found.start() == len(server):
                return key
            break
    raise ConfigError(
        f'tool "{tool}" of server "{server}" can\'t be written down: "{key}" would mean another; rename the server'
    )


def _server(server: Server, secrets: Secrets) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": server.type}
    if server.type == "stdio":
        entry["command"] = escaped(server.command)
        if server.args:
            entry["args"] = [
                secrets.within(server.name, arg, spans)
                for arg, spans in zip(server.args, in_args(server.args), strict=True)
            ]
        if server.env:
            entry["env"] = {
                name: escaped(value) if plain_env(name, value) else secrets.written(server.name, name, value)
                for name, value in server.env
            }
        if server.cwd is not None:
            entry["cwd"] = escaped(server.cwd)
        if server.sandbox is not None:
            entry["sandbox"] = document_of_sandbox(server.sandbox)
    else:
        entry["url"] = secrets.within(server.name, server.url, in_url(server.url))
        headers = dict(server.headers)
        bearer = _bearer(server)
        if bearer is not None:
            del headers["Authorization"]
        if headers:
            entry["headers"] = {
                name: escaped(value) if plain_header(name, value) else secrets.written(server.name, name, value)
                for name, value in headers.items()
            }
        if bearer is not None:
            entry["bearerToken"] = secrets.written(server.name, "token", bearer)
        if server.grant is not None:
            entry["oauth"] = entry_of(server.grant, partial(secrets.written, server.name))
    if server.description:
        entry["description"] = escaped(server.description)
    if server.era != "auto":
        entry["era"] = server.era
    if server.sharing != "auto":
        entry["sharing"] = server.sharing
    if server.timeout != DEFAULT_TIMEOUT:
        entry["timeout"] = _number(server.timeout)
    if server.disabled:
        entry["disabled"] = True
    return entry


def _bearer(server: Server) -> str | None:
    """Return the bearer token where ``bearerToken`` gives the same headers in the same order."""
    if not server.headers or server.headers[-1][0] != "Authorization":
        return None
    token = _BEARER.fullmatch(server.headers[-1][1])
    return token[1] if token else None


def _namespace(namespace: Namespace) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if namespace.description:
        entry["description"] = escaped(namespace.description)
    entry["servers"] = list(namespace.servers)  # in their order, which is that of the tools
    if namespace.prefix != "always":
        entry["prefix"] = namespace.prefix
    if namespace.tools:
        entry["tools"] = {
            tool_key(server, tool, namespace.servers): _override(namespace.tools[server, tool])
            for server, tool in sorted(namespace.tools)
        }
    if namespace.middlewares:
        entry["middlewares"] = _json(document_of_middlewares(namespace.middlewares))
    return entry


def _override(override: ToolOverride) -> dict[str, Any]:
    entry: dict[str, Any] = {} if override.enabled else {"enabled": False}
    for field in ("name", "title", "description"):
        value = getattr(override, field)
        if value is not None:
            entry[field] = escaped(value)
    if override.annotations is not None:
        entry["annotations"] = {key: _json(value) for key, value in override.annotations.items()}
    return entry


def _json(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, Mapping):
        return {key: _json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    return value


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    # Who may use it is always said, even where it is the default.
    entry: dict[str, Any] = {"namespace": endpoint.namespace, "apiKeyAuth": endpoint.api_key_auth}
    if endpoint.oauth is not None:
        entry["oauth"] = document_of_oauth(endpoint.oauth)
    if endpoint.query_param_auth:
        entry["queryParamAuth"] = True
    if endpoint.rate_limit:
        entry["rateLimit"] = {
            "maxRate": endpoint.rate_limit.max_rate,
            "maxRateSeconds": _number(endpoint.rate_limit.seconds),
        }
    if endpoint.client_rate_limit:
        limit = endpoint.client_rate_limit
        entry["clientRateLimit"] = {"maxRate": limit.max_rate, "maxRateSeconds": _number(limit.seconds)}
        entry["clientRateLimit"]["strategy"] = limit.strategy
        if limit.header is not None:
            entry["clientRateLimit"]["header"] = limit.header
    return entry


def _key(key: Key) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": escaped(key.principal.name), "digest": f"sha256:{key.digest.hex()}"}
    if key.endpoints is not None:
        entry["endpoints"] = sorted(key.endpoints)
    return entry


def _number(value: float) -> float:
    return int(value) if math.isfinite(value) and value == int(value) else value
