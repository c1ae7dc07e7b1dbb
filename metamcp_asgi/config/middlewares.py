"""The ``middlewares`` of a namespace as plain data, in their order.

Which ones there are and what each can be told is not known here: that is decided where they are built
(``aggregate.middleware``), by names and options that other packages may add to.
"""

from collections.abc import Mapping
from typing import Any

from metamcp_asgi.config.node import Node, step
from metamcp_asgi.config.sensitive import MASK, in_args, masked, plain_name
from metamcp_asgi.config.snapshot import MiddlewareSpec

__all__ = ["compile_middlewares", "document_of_middlewares", "masked_options", "place_of"]


def compile_middlewares(node: Node) -> tuple[MiddlewareSpec, ...]:
    """Read a list of which each element is a name, or an object of a name and its options.

    Raises:
        ConfigError: Something else is in the list.
    """
    return tuple(_compile(item) for item in node.items())


def document_of_middlewares(specs: tuple[MiddlewareSpec, ...]) -> list[Any]:
    """Return the list from which the same specs would be compiled; texts are not escaped."""
    return [{spec.name: dict(spec.options)} if spec.options else spec.name for spec in specs]


def place_of(namespace: str, index: int) -> str:
    """Return where a middleware stands in the document, for errors."""
    return f"{step('namespaces', namespace)}.middlewares[{index}]"


def masked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a middleware's options with ``***`` for what may be a secret, by its key or by its form.

    Only the middleware's own package knows which options are; a text below a key that sounds like a secret is one.
    """
    return {key: _masked(key, value) for key, value in options.items()}


def _masked(key: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {inner: _masked(inner if plain_name(key) else key, each) for inner, each in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(key, each) for each in value]
    if isinstance(value, str):
        (spans,) = in_args([value])
        return masked(value, spans) if plain_name(key) else MASK
    return value if plain_name(key) or value is None or isinstance(value, bool) else MASK


def _compile(node: Node) -> MiddlewareSpec:
    if isinstance(node.value, str):
        return MiddlewareSpec(node.text())
    entries = list(node.entries()) if isinstance(node.value, dict) else []
    if len(entries) != 1:
        raise node.error('must be a name, or an object of one name and its options: {"limit": {"maxBytes": 100000}}')
    name, options = entries[0]
    # In YAML, `- limit:` with nothing behind it.
    if options.value is None:
        return MiddlewareSpec(name)
    return MiddlewareSpec(name, {key: value.json() for key, value in options.entries()})
