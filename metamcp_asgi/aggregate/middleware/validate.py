"""``validate``: arguments are held against the tool's ``inputSchema`` before a server sees them (TO-05, TO-07).

Compiled once for each tool, JSON Schema 2020-12 unless the schema names another dialect. Nothing is ever fetched: what
a schema refers to must be in it. Depth, size and work are bounded: schemas are the servers', arguments the clients'.
"""

import logging
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from metamcp_asgi.aggregate.middleware.patterns import matches_in_time
from metamcp_asgi.aggregate.middleware.protocol import Next, ToolCall, ToolResult
from metamcp_asgi.errors import ConfigError

__all__ = ["Validate"]

logger = logging.getLogger("metamcp")

MAX_DEPTH: Final = 64
MAX_SUBSCHEMAS: Final = 10_000
MAX_STEPS: Final = 100_000
"""How many keywords one validation may evaluate; following a reference counts for ten."""
MAX_REFERENCES: Final = 20
"""How many references a schema may have beside ``unevaluatedProperties``, which follows each of them many times."""
MAX_TOOLS: Final = 10_000
_SHOWN: Final = 3
_LONGEST: Final = 300

Check = Callable[[Any], str]
"""Tells what is wrong with arguments; nothing, if they are as they should be."""


class ValidateOptions(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """What can be configured: the longest arguments, in bytes, that are looked at; longer ones are refused."""

    max_bytes: Annotated[int, Meta(ge=1024)] = 1_048_576


class Validate:
    """Refuses calls whose arguments the tool does not take.

    Args:
        options: What is configured.

    Raises:
        ConfigError: ``jsonschema`` is not installed.
    """

    Options = ValidateOptions

    def __init__(self, options: ValidateOptions) -> None:
        try:
            import jsonschema  # noqa: F401
        except ImportError:
            raise ConfigError("needs the package jsonschema: pip install 'metamcp-asgi[validation]'") from None
        self._max_bytes = options.max_bytes
        self._checks: dict[tuple[str, str], tuple[Raw, Check]] = {}

    async def call_tool(self, call: ToolCall, next: Next[ToolCall, ToolResult]) -> ToolResult:  # noqa: A002
        """Call a tool, if its arguments are right."""
        schema = call.definition.get("inputSchema")
        if schema is None:
            return await next(call)
        if len(call.raw_arguments) > self._max_bytes:
            size = len(call.raw_arguments)
            return ToolResult.error(f"The arguments have {size} bytes, and {self._max_bytes} are the most allowed")
        key = (call.server, call.own_name)
        kept = self._checks.get(key)
        if kept is None or kept[0] != schema:
            if len(self._checks) >= MAX_TOOLS:
                self._checks.clear()
            self._checks[key] = kept = (schema, _compiled(schema, f"{call.own_name} of server {call.server}"))
        problem = kept[1](call.arguments)
        return ToolResult.error(f"Invalid arguments for tool {call.name}: {problem}") if problem else await next(call)


class _TooMuchWork(Exception):
    """A validation takes more steps than allowed."""


_work = threading.local()


def _compiled(raw: Raw, tool: str) -> Check:
    """Return the check of a schema; one that says nothing, where the schema itself cannot be used."""
    import jsonschema
    from jsonschema.exceptions import SchemaError
    from referencing.exceptions import Unresolvable

    schema = msgspec.json.decode(raw)
    if fault := _fault(schema):
        logger.warning("Arguments of tool %s are not validated: %s", tool, fault)
        return lambda arguments: ""
    dialect = schema.get("$schema") if isinstance(schema, dict) else None
    newest = jsonschema.Draft202012Validator
    base = jsonschema.validators.validator_for(schema, default=newest) if isinstance(dialect, str) else newest
    try:
        base.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        reason = error.message if isinstance(error, SchemaError) else "is nested too deeply"
        logger.warning("Arguments of tool %s are not validated: its schema is none: %s", tool, reason[:_LONGEST])
        return lambda arguments: ""
    validator = _bounded(base)(schema, registry=_registry())

    def check(arguments: Any) -> str:
        _work.steps = 0
        try:
            errors = list(islice(validator.iter_errors(arguments), _SHOWN))
        except Unresolvable as error:
            return f"the tool's schema refers to {str(error.ref)[:_LONGEST]!r}, which is not in it and is never fetched"
        except (_TooMuchWork, RecursionError):
            return "checking them against the tool's schema takes too much work"
        return "; ".join(f"{_place(error.absolute_path)}: {error.message[:_LONGEST]}" for error in errors)

    return check


def _bounded(base: Any) -> Any:
    """Return a validator class like ``base`` whose work is counted, and whose patterns end in time."""
    import jsonschema
    from jsonschema.exceptions import ValidationError

    def counted(keyword: Callable[..., Any], steps: int) -> Callable[..., Any]:
        def run(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
            _work.steps += steps
            if _work.steps > MAX_STEPS:
                raise _TooMuchWork
            return keyword(validator, value, instance, schema)

        return run

    def pattern(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        # Where it would take too long, the server has the last word.
        if isinstance(instance, str) and matches_in_time(value, len(instance)) and not re.search(value, instance):
            yield ValidationError(f"{instance[:100]!r} does not match {value!r}")

    def unique_items(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if value and isinstance(instance, list) and len({_canonical(item) for item in instance}) < len(instance):
            yield ValidationError("has elements that are not unique")

    own = {"pattern": pattern, "uniqueItems": unique_items}
    keywords = {**base.VALIDATORS, **{name: own[name] for name in own if name in base.VALIDATORS}}
    return jsonschema.validators.extend(
        base,
        {name: counted(keyword, 10 if name in ("$ref", "$dynamicRef") else 1) for name, keyword in keywords.items()},
    )


def _registry() -> Any:
    """Return a registry that knows the dialects of JSON Schema, and refuses to fetch anything else."""
    from jsonschema_specifications import REGISTRY
    from referencing import Registry
    from referencing.exceptions import NoSuchResource

    def refuse(uri: str) -> Any:
        raise NoSuchResource(ref=uri)

    return REGISTRY.combine(Registry(retrieve=refuse))


def _fault(schema: Any) -> str:
    """Return why a schema is not used, or nothing; looks at everything in it, schema or not."""
    stack, count, references, unevaluated = [(schema, 0)], 0, 0, False
    while stack:
        node, depth = stack.pop()
        count += 1
        if depth > MAX_DEPTH or count > MAX_SUBSCHEMAS:
            return "its schema is too large" if depth <= MAX_DEPTH else "its schema is nested too deeply"
        if isinstance(node, dict):
            references += "$ref" in node or "$dynamicRef" in node
            unevaluated = unevaluated or "unevaluatedProperties" in node or "unevaluatedItems" in node
            named = node.get("patternProperties")
            if isinstance(named, dict) and not all(matches_in_time(each, _LONGEST) for each in named):
                return "a pattern of its patternProperties may take too long"
            stack.extend((value, depth + 1) for value in node.values() if isinstance(value, dict | list))
        else:
            stack.extend((value, depth + 1) for value in node if isinstance(value, dict | list))
    if unevaluated and references > MAX_REFERENCES:
        return f"it has more than {MAX_REFERENCES} references beside unevaluated properties"
    return ""


def _place(path: Iterable[str | int]) -> str:
    return "arguments" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def _canonical(value: Any) -> bytes:
    """Return the same bytes for equal JSON values: 1 and 1.0 are, 1 and true are not."""
    return _sorted(_numbers(value))


_sorted = msgspec.json.Encoder(order="deterministic").encode


def _numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    return {name: _numbers(item) for name, item in value.items()} if isinstance(value, dict) else value
