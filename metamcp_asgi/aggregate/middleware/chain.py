"""The middlewares of one namespace, composed once: the first that is configured is the outermost.

A namespace without any has no chain, which is all that a call looks at.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

import msgspec

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.middleware.items import Items, ListCall, published
from metamcp_asgi.aggregate.middleware.protocol import (
    AnyCall,
    AnyResult,
    PromptCall,
    ResourceCall,
    ToolCall,
)
from metamcp_asgi.aggregate.middleware.registry import METHODS, instances
from metamcp_asgi.aggregate.middleware.signals import CallFailed, InputNeeded
from metamcp_asgi.aggregate.published import Item, Route
from metamcp_asgi.bus.protocol import Take
from metamcp_asgi.config.snapshot import Namespace
from metamcp_asgi.errors import MetaMCPError, ProtocolError
from metamcp_asgi.protocol import headers
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, Result, internal, tool_error
from metamcp_asgi.protocol.revisions import LISTS

__all__ = ["Ask", "Chain", "build"]

logger = logging.getLogger("metamcp")

Ask: TypeAlias = Callable[[Call, Route], Awaitable[Outcome]]
"""Asks a server and returns what a client is told."""

_CALLS: Final[dict[str, type[AnyCall]]] = {
    "tools/call": ToolCall,
    "prompts/get": PromptCall,
    "resources/read": ResourceCall,
}


@runtime_checkable
class _Counts(Protocol):
    """A middleware that counts in token buckets."""

    def counts_with(self, take: Take) -> None:
        """Count with these."""


def build(config: Namespace, ask: Ask, take: Take) -> "Chain | None":
    """Return the chain of a namespace, ``None`` when it has no middlewares.

    Args:
        config: The namespace.
        ask: What is behind the last middleware.
        take: The token buckets of this gateway, for those that count.

    Raises:
        ConfigError: A middleware is unknown or its options are wrong.
    """
    if not config.middlewares:
        return None
    middlewares = instances(config)
    for each in middlewares:
        if isinstance(each, _Counts):
            each.counts_with(take)
    return Chain(config, middlewares, ask)


class Chain:
    """The composed middlewares of a namespace.

    Args:
        config: The namespace.
        middlewares: Its middlewares, the outermost first.
        ask: What is behind the last one.
    """

    def __init__(self, config: Namespace, middlewares: Sequence[Any], ask: Ask) -> None:
        self._config = config
        self._ask = ask
        self._listeners = [each.changed for each in middlewares if hasattr(each, "changed")]
        self._handlers = {
            method: _composed(
                [getattr(each, own) for each in middlewares if hasattr(each, own)], self._innermost(method)
            )
            for method, own in METHODS.items()
            if any(hasattr(each, own) for each in middlewares)
        }
        self.lists = frozenset(self._handlers.keys() & LISTS.keys())
        """The lists that pass through a middleware."""
        self.per_principal = frozenset(
            method
            for method in self.lists
            if any(hasattr(each, METHODS[method]) and getattr(each, "per_principal", False) for each in middlewares)
        )
        """Those of them that may differ from principal to principal."""

    def concerns(self, method: str) -> bool:
        """Tell whether a middleware takes part in the answers to a method."""
        return method in self._handlers

    def changed(self) -> None:
        """Tell the middlewares that want to know that what the servers offer has changed."""
        for listener in self._listeners:
            listener()

    async def answer(self, call: Call, found: Route | Outcome) -> Outcome:
        """Answer one call.

        Args:
            call: The call.
            found: The server that it leads to, or what is answered because there is none.

        Raises:
            ProtocolError: The call itself is wrong.
            UpstreamError: The server could not be asked.
        """
        handler = self._handlers.get(call.method)
        if handler is None:
            return await self._ask(call, found) if isinstance(found, Route) else found
        if isinstance(found, Route) and found.params and call.mirrored is not None:
            # What the client mirrored is what the client sent: arguments may be others after this.
            headers.check_params(found.params, _arguments(call), call.mirrored)
        seen = _CALLS[call.method](call, found, self._config)
        try:
            result: Result = (await handler(seen)).result
        except CallFailed as failed:
            return failed.failure
        except InputNeeded as needed:
            return needed.outcome
        except MetaMCPError:
            raise
        except Exception:  # another package's defect is no reason to answer nothing, nor to go around it
            logger.exception(
                "A middleware of namespace %s failed on %s %s", self._config.name, call.method, call.target
            )
            text = f"A middleware of namespace {self._config.name} failed; the log of the gateway says more"
            return tool_error(text) if call.method == "tools/call" else internal(text)
        return result

    async def shown(self, method: str, items: Sequence[Item], servers: Sequence[str], call: Call) -> list[Item]:
        """Return what is left of a list.

        Args:
            method: The list, one of ``lists``.
            items: What the namespace publishes.
            servers: Its servers in order.
            call: For whom, if the list is ``per_principal``.

        Raises:
            ProtocolError: A middleware failed.
        """
        private = method in self.per_principal
        asked = ListCall.over(
            method,
            self._config.name,
            call.principal if private else None,
            call.endpoint if private else None,
            items,
            servers,
        )
        try:
            return published(await self._handlers[method](asked))
        except MetaMCPError:
            raise
        except Exception:
            logger.exception("A middleware of namespace %s failed on %s", self._config.name, method)
            text = f"A middleware of namespace {self._config.name} failed; the log of the gateway says more"
            raise ProtocolError(INTERNAL_ERROR, text) from None

    def _innermost(self, method: str) -> Callable[[Any], Awaitable[Any]]:
        return _items if method in LISTS else self._send

    async def _send(self, call: AnyCall) -> AnyResult:
        outcome = call.instead if call.route is None else await self._ask(call.core, call.route)
        if isinstance(outcome, Failure):
            raise CallFailed(outcome)
        if isinstance(outcome, InputRequired):
            raise InputNeeded(outcome)
        assert outcome is not None, "what has no route has an answer instead"
        return call.result_type(outcome)


async def _items(call: ListCall) -> Items:
    return call.items


def _composed(
    layers: Sequence[Callable[..., Awaitable[Any]]], innermost: Callable[[Any], Awaitable[Any]]
) -> Callable[[Any], Awaitable[Any]]:
    handler = innermost
    for layer in reversed(layers):
        handler = partial(_through, layer, handler)
    return handler


def _through(
    layer: Callable[..., Awaitable[Any]], following: Callable[..., Awaitable[Any]], call: Any
) -> Awaitable[Any]:
    return layer(call, following)


def _arguments(call: Call) -> Any:
    try:
        return msgspec.json.decode(call.params.get("arguments", b"{}"))
    except msgspec.DecodeError as error:
        raise ProtocolError(INVALID_PARAMS, f"params.arguments: {error}") from None
