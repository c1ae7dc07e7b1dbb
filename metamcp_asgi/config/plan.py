"""What would change if one configuration took the place of another: a list of changes, for people and for scripts.

Pure: compares two ``Snapshot`` objects and knows nothing of where they come from. Secrets are compared, never shown.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Struct

from metamcp_asgi.config.grants import entry_of
from metamcp_asgi.config.middlewares import document_of_middlewares, masked_options
from metamcp_asgi.config.oauth import document_of_oauth
from metamcp_asgi.config.sandbox import document_of_sandbox
from metamcp_asgi.config.sensitive import MASK, in_args, in_url, masked, plain_env, plain_header
from metamcp_asgi.config.snapshot import DEFAULT_TIMEOUT, Endpoint, Key, MiddlewareSpec, Namespace, Server, Snapshot

__all__ = ["Change", "FieldChange", "Kind", "difference", "in_words"]

Action: TypeAlias = Literal["add", "change", "remove", "keep"]
Kind: TypeAlias = Literal["server", "namespace", "endpoint", "key"]

_SIGNS: Final = {"add": "+", "change": "~", "remove": "-", "keep": " "}
_ORDER: Final[tuple[Kind, ...]] = ("server", "namespace", "endpoint", "key")


class _Unset:
    """What a field is that isn't there, which differs from every value."""

    def __repr__(self) -> str:
        return "-"


_UNSET: Final = _Unset()


class _Value:
    """A field's value: what is compared, and what is shown."""

    __slots__ = ("real", "shown")

    def __init__(self, real: Any, shown: Any = _UNSET) -> None:
        self.real = real
        self.shown = real if shown is _UNSET else shown

    @property
    def hidden(self) -> bool:
        return self.shown is not self.real


class FieldChange(Struct, frozen=True, omit_defaults=True):
    """One field of an object.

    Args:
        field: Its name in the document, with dots: ``env.API_KEY``, ``tools.time__now.enabled``.
        before: What it is; ``None`` where it isn't set. A secret is shown as ``***``.
        after: What it will be.
        secret: Whether a secret is hidden in it, so that ``before`` and ``after`` may look the same.
    """

    field: str
    before: Any = None
    after: Any = None
    secret: bool = False


class Change(Struct, frozen=True):
    """What becomes of one object.

    Args:
        action: ``add``, ``change``, ``remove``, or ``keep`` for what only the old configuration has, and may.
        kind: What it is.
        name: Its name.
        fields: What changes in it, in the order of the document; of ``keep`` and ``remove`` nothing.
    """

    action: Action
    kind: Kind
    name: str
    fields: tuple[FieldChange, ...] = ()


def difference(before: Snapshot, after: Snapshot, *, prune: bool = True) -> list[Change]:
    """Return what changes between two configurations, servers first, each kind by name.

    Args:
        before: What there is.
        after: What there shall be.
        prune: Whether what only ``before`` has is removed; otherwise it is kept.
    """
    changes: list[Change] = []
    for kind in _ORDER:
        old, new = _objects(before, kind), _objects(after, kind)
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                changes.append(Change("remove" if prune else "keep", kind, name))
                continue
            fields = tuple(_differing(old.get(name, {}), new[name]))
            if name not in old:
                changes.append(Change("add", kind, name, fields))
            elif fields:
                changes.append(Change("change", kind, name, fields))
    return changes


def in_words(changes: Sequence[Change]) -> str:
    """Return a plan as people read it, one line for each field, and a sum at the end."""
    lines: list[str] = []
    for change in changes:
        kept = "  (not in the file; kept, --prune removes it)" if change.action == "keep" else ""
        lines.append(f"{_SIGNS[change.action]} {change.kind} {change.name}{kept}")
        for field in change.fields:
            after = _text(field.after)
            if change.action == "add":
                lines.append(f"    {field.field}: {after}")
                continue
            told = " (secret)" if field.secret and field.before == field.after else ""
            lines.append(f"    {field.field}: {_text(field.before)} -> {after}{told}")
    count = {action: sum(change.action == action for change in changes) for action in ("add", "change", "remove")}
    if not any(count.values()):
        lines.append("Nothing to do.")
    else:
        lines.append(f"{count['add']} to add, {count['change']} to change, {count['remove']} to remove.")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return "(not set)" if value is None else msgspec.json.encode(value).decode()


def _differing(old: Mapping[str, _Value], new: Mapping[str, _Value]) -> Iterator[FieldChange]:
    for field in [*new, *(field for field in old if field not in new)]:
        was, becomes = old.get(field, _Value(_UNSET, None)), new.get(field, _Value(_UNSET, None))
        if was.real != becomes.real:
            secret = any(value.hidden and value.real is not _UNSET for value in (was, becomes))
            yield FieldChange(field, was.shown, becomes.shown, secret)


def _objects(snapshot: Snapshot, kind: Kind) -> dict[str, dict[str, _Value]]:
    if kind == "server":
        return {name: dict(_server(server)) for name, server in snapshot.servers.items()}
    if kind == "namespace":
        return {name: dict(_namespace(namespace)) for name, namespace in snapshot.namespaces.items()}
    if kind == "endpoint":
        return {name: dict(_endpoint(endpoint)) for name, endpoint in snapshot.endpoints.items()}
    return {key.principal.name: dict(_key(key)) for key in snapshot.keys.values()}


def _server(server: Server) -> Iterator[tuple[str, _Value]]:
    yield "type", _Value(server.type)
    if server.command:
        yield "command", _Value(server.command)
    if server.args:
        shown = [masked(arg, spans) for arg, spans in zip(server.args, in_args(server.args), strict=True)]
        yield "args", _masked(list(server.args), shown)
    for name, value in server.env:
        yield f"env.{name}", _Value(value) if plain_env(name, value) else _Value(value, MASK)
    if server.cwd is not None:
        yield "cwd", _Value(server.cwd)
    if server.url:
        yield "url", _masked(server.url, masked(server.url, in_url(server.url)))
    for name, value in server.headers:
        yield f"headers.{name}", _Value(value) if plain_header(name, value) else _Value(value, MASK)
    if server.description:
        yield "description", _Value(server.description)
    if server.era != "auto":
        yield "era", _Value(server.era)
    if server.sharing != "auto":
        yield "sharing", _Value(server.sharing)
    if server.timeout != DEFAULT_TIMEOUT:
        yield "timeout", _Value(server.timeout)
    if server.disabled:
        yield "disabled", _Value(True)
    if server.sandbox is not None:
        yield "sandbox", _Value(document_of_sandbox(server.sandbox))
    if server.grant is not None:
        yield (
            "oauth",
            _masked(entry_of(server.grant, lambda _, value: value), entry_of(server.grant, lambda *_: MASK)),
        )


def _masked(real: Any, shown: Any) -> _Value:
    return _Value(real) if real == shown else _Value(real, shown)


def _namespace(namespace: Namespace) -> Iterator[tuple[str, _Value]]:
    if namespace.description:
        yield "description", _Value(namespace.description)
    yield "servers", _Value(list(namespace.servers))
    if namespace.prefix != "always":
        yield "prefix", _Value(namespace.prefix)
    for server, tool in sorted(namespace.tools):
        override = namespace.tools[server, tool]
        # An override that changes nothing has no field of its own, and nothing to compare.
        for field, value in msgspec.structs.asdict(override).items():
            if value is not None and (field, value) != ("enabled", True):
                yield f"tools.{server}__{tool}.{field}", _Value(value)
    if namespace.middlewares:
        shown = tuple(MiddlewareSpec(m.name, masked_options(m.options)) for m in namespace.middlewares)
        real = document_of_middlewares(namespace.middlewares)
        yield "middlewares", _masked(real, document_of_middlewares(shown))


def _endpoint(endpoint: Endpoint) -> Iterator[tuple[str, _Value]]:
    yield "namespace", _Value(endpoint.namespace)
    yield "apiKeyAuth", _Value(endpoint.api_key_auth)
    yield "oauth", _Value(document_of_oauth(endpoint.oauth) if endpoint.oauth is not None else False)
    yield "queryParamAuth", _Value(endpoint.query_param_auth)
    if endpoint.rate_limit:
        limit = {"maxRate": endpoint.rate_limit.max_rate, "maxRateSeconds": endpoint.rate_limit.seconds}
        yield "rateLimit", _Value(limit)
    if endpoint.client_rate_limit:
        by = endpoint.client_rate_limit
        each = {"maxRate": by.max_rate, "maxRateSeconds": by.seconds, "strategy": by.strategy}
        yield "clientRateLimit", _Value(each | ({"header": by.header} if by.header else {}))


def _key(key: Key) -> Iterator[tuple[str, _Value]]:
    yield "digest", _Value(key.digest, MASK)
    yield "endpoints", _Value("all" if key.endpoints is None else sorted(key.endpoints))
