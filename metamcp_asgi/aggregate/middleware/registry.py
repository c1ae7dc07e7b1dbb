"""Which middlewares there are, ours and those of other packages, and how one is made from its configuration.

Another package adds one by an entry point of the group ``metamcp_asgi.middleware``, whose object is the class. A class
that takes options names their type, a ``msgspec.Struct``, as ``Options``, and gets them as its only argument.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

import msgspec

from metamcp_asgi.config.middlewares import place_of
from metamcp_asgi.config.node import nearest, step
from metamcp_asgi.config.snapshot import MiddlewareSpec, Namespace, Snapshot
from metamcp_asgi.errors import ConfigError

__all__ = ["GROUP", "METHODS", "Known", "check", "instances", "known", "names", "naming", "takes_part"]

GROUP: Final = "metamcp_asgi.middleware"
METHODS: Final[dict[str, str]] = {
    "tools/call": "call_tool",
    "prompts/get": "get_prompt",
    "resources/read": "read_resource",
    "tools/list": "list_tools",
    "prompts/list": "list_prompts",
    "resources/list": "list_resources",
    "resources/templates/list": "list_resource_templates",
}
"""The method of a middleware that each MCP method passes through."""

_BUILT_IN: Final = {
    "audit": "Audit",
    "cache": "Cache",
    "limit": "Limit",
    "rate_limit": "RateLimit",
    "redact": "Redact",
    "retry": "Retry",
    "validate": "Validate",
}
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*?)`")
_PLACE: Final = re.compile(r"(.*?)(?: - at `\$(.*)`)?", re.DOTALL)


def names() -> list[str]:
    """Return the names of all middlewares that could be configured."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A middleware that could be configured.

    ``options`` is the JSON schema of its options, ``None`` when it takes none; ``error`` tells why it cannot be used.
    """

    name: str
    summary: str = ""
    options: dict[str, Any] | None = None
    error: str = ""


@cache
def known() -> tuple[Known, ...]:
    """Return all middlewares that could be configured, by name; which are installed does not change meanwhile."""
    return tuple(map(_known, names()))


def takes_part(namespace: Namespace, method: str) -> bool:
    """Tell whether a middleware of a namespace may take part in the answers to a method; who knows of unknown ones."""
    return any(_takes_part(spec, method) for spec in namespace.middlewares)


def check(snapshot: Snapshot) -> None:
    """See that every middleware of a configuration exists and likes its options.

    Raises:
        ConfigError: One does not; names its place.
    """
    for namespace in snapshot.namespaces.values():
        instances(namespace)


@contextlib.contextmanager
def naming(source: str | Path) -> Iterator[None]:
    """Have errors name the file that the configuration came from."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(error.reason, path=error.path, source=error.source or str(source)) from error


def instances(namespace: Namespace) -> tuple[object, ...]:
    """Make the middlewares of a namespace, in their order.

    Raises:
        ConfigError: One is unknown, cannot be loaded, or has wrong options.
    """
    return tuple(_make(spec, place_of(namespace.name, index)) for index, spec in enumerate(namespace.middlewares))


def _make(spec: MiddlewareSpec, place: str) -> object:
    inner = step(place, spec.name)
    made = _class(spec.name, place)
    options_type: Any = getattr(made, "Options", None)
    try:
        if options_type is not None:
            return made(_options(spec.options, options_type))
        if spec.options:
            raise ConfigError("takes no options")
        return made()
    except ConfigError as error:
        raise ConfigError(error.reason, path=_joined(inner, error.path)) from None
    except ValueError as error:
        raise ConfigError(str(error), path=inner) from None


def _takes_part(spec: MiddlewareSpec, method: str) -> bool:
    try:
        return hasattr(_class(spec.name, ""), METHODS[method])
    except ConfigError:  # its package is not installed on this machine
        return True


def _known(name: str) -> Known:
    try:
        made = _class(name, "")
    except ConfigError as error:
        return Known(name=name, error=error.reason)
    options_type: Any = getattr(made, "Options", None)
    schema = None if options_type is None else msgspec.json.schema(options_type)
    summary = (made.__doc__ or "").strip().partition("\n")[0]
    return Known(name=name, summary=summary, options=schema)


def _class(name: str, place: str) -> type[Any]:
    if (built_in := _BUILT_IN.get(name)) is not None:
        made: type[Any] = getattr(import_module(f"metamcp_asgi.aggregate.middleware.{name}"), built_in)
        return made
    points = list(entry_points(group=GROUP, name=name))
    if not points:
        near = nearest(name, names())
        hint = f'; did you mean "{near}"?' if near else f"; there are {', '.join(names())}"
        # The store is shared by machines on which different packages may be installed.
        package = "if it is another package's, that is not installed on this machine"
        raise ConfigError(f"names an unknown middleware {name!r}{hint} ({package})", path=place)
    if len({point.value for point in points}) > 1:
        raise ConfigError(f"{name!r} is offered by several packages: {_packages(points)}", path=place)
    return _loaded(points[0], place)


def _loaded(point: EntryPoint, place: str) -> type[Any]:
    try:
        loaded = point.load()
    except Exception as error:  # whatever another package does when it is imported
        raise ConfigError(f"{point.name!r} ({point.value}) cannot be loaded: {error}", path=place) from error
    if not isinstance(loaded, type) or not any(hasattr(loaded, method) for method in METHODS.values()):
        known = ", ".join(METHODS.values())
        raise ConfigError(f"{point.name!r} ({point.value}) is no class with any of {known}", path=place)
    return loaded


def _options(given: Mapping[str, Any], options_type: type[Any]) -> Any:
    try:
        # As texts are what ${VAR} gives, a number may be one.
        return msgspec.convert(given, options_type, strict=False)
    except msgspec.ValidationError as error:
        found = _PLACE.fullmatch(str(error))
        reason, path = (found[1], found[2] or "") if found else (str(error), "")
        if unknown := _UNKNOWN.fullmatch(reason):
            fields = [field.encode_name for field in msgspec.structs.fields(options_type)]
            near = nearest(unknown[1], fields)
            reason = f'has an unknown key "{unknown[1]}"'
            reason += f'; did you mean "{near}"?' if near else f"; there are {', '.join(fields)}"
        else:
            reason = f"{reason[:1].lower()}{reason[1:]}"
        raise ConfigError(reason, path=path) from None


def _joined(place: str, path: str) -> str:
    """Return the place of ``path`` (``maxBytes``, ``.maxBytes`` or ``[0]``) below ``place``."""
    return f"{place}.{path}" if path and path[0] not in ".[" else place + path


def _packages(points: Iterable[EntryPoint]) -> str:
    return ", ".join(sorted({point.dist.name if point.dist is not None else point.value for point in points}))
