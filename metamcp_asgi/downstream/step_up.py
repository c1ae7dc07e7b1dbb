"""Tools that need more than the endpoint does: 403 with all their scopes, before anything else is answered (AU-03).

A layer around the leaves, so that no way to call a tool goes past it. Only endpoints with ``toolScopes`` pay for it,
and only requests with an access token: their bodies are read here first. Knows messages and the published names.
"""

from collections.abc import Awaitable, Iterable
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.dispatch import find
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.aggregate.view import View
from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.asgi.bearer import challenge, insufficient
from metamcp_asgi.config.snapshot import ANONYMOUS, Endpoint, Principal
from metamcp_asgi.downstream.inbound import read_headers
from metamcp_asgi.downstream.intake import Intake
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import Message as Envelope

__all__ = ["StepUp"]

_CALL: Final = "tools/call"


class _Named(Struct):
    """The one member of ``params`` that is looked at."""

    name: str | UnsetType = UNSET


class StepUp:
    """Refuse calls of tools for which an access token has not enough scopes.

    Args:
        app: The leaves.
        aggregator: The core, which knows all names of a tool.
        intake: Reads messages.
        app_url: Public URL of the gateway; ``None``: the one that a request came to.
    """

    def __init__(self, app: ASGIApp, aggregator: Aggregator, intake: Intake, app_url: str | None) -> None:
        self.app = app
        self._aggregator = aggregator
        self._intake = intake
        self._app_url = app_url

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request; a plain call, which costs no coroutine of its own where no tool needs more."""
        endpoint: Endpoint = scope["metamcp.endpoint"]
        if endpoint.oauth is None or not endpoint.oauth.tool_scopes:
            return self.app(scope, receive, send)
        return self._checked(endpoint, scope.get("metamcp.principal", ANONYMOUS), scope, receive, send)

    async def _checked(
        self, endpoint: Endpoint, principal: Principal, scope: Scope, receive: Receive, send: Send
    ) -> None:
        tools: Iterable[str] = ()
        if principal.scopes is not None:
            leaf, _, rest = str(scope["metamcp.leaf"]).partition("/")
            if leaf == "api":
                tools = (rest.lstrip("/"),)
            elif scope["method"] == "POST":
                headers = read_headers(scope["headers"])
                if self._intake.refuses(headers):
                    await self._intake.refuse(send)
                    return
                body = await self._intake.body(headers, receive, send)
                if body is None:
                    return
                tools, receive = self._called(body), _again(body, receive)
        named = [name for tool in dict.fromkeys(tools) for name in await self._names(endpoint, principal, tool)]
        if wanted := insufficient(endpoint, principal, named):
            text = f"This needs the scopes {' '.join(wanted)}"
            headers_ = [challenge(scope, self._app_url, endpoint, "insufficient_scope", text, wanted)]
            body_ = {"error": "insufficient_scope", "error_description": text}
            await send_refusal(scope, send, 403, body_, headers_)
            return
        await self.app(scope, receive, send)

    def _called(self, body: bytes) -> list[str]:
        """Return the names of the tools that a body calls; what is wrong with it is said further inward."""
        try:
            message = self._intake.parse(body)
        except ProtocolError:
            return []
        messages = message if isinstance(message, list) else [message]
        return [name for each in messages if each.method == _CALL and (name := _name(each)) is not None]

    async def _names(self, endpoint: Endpoint, principal: Principal, tool: str) -> set[str]:
        """Return every name under which a tool can be called, so that none of them goes past its scopes."""
        running = self._aggregator.namespace(endpoint.name)
        if running is None:
            return {tool}
        try:
            found = await find(Call(endpoint.name, principal, _CALL, {}, target=tool), running)
        except ProtocolError:  # a middleware failed, and will again
            return {tool}
        return {tool, *_aliases(running.view, found)} if isinstance(found, Route) else {tool}


def _aliases(view: View, found: Route) -> list[str]:
    return [name for name, route in view.tools.items() if route.key == found.key and route.server is found.server]


def _name(message: Envelope) -> str | None:
    params = message.params
    if params is UNSET:
        return None
    try:
        name = msgspec.json.decode(params if isinstance(params, Raw) else b"{}", type=_Named).name
    except msgspec.DecodeError:
        return None
    return None if name is UNSET else name


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a channel on which a body that was read comes once more."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return messages.pop() if messages else await receive()

    return give
