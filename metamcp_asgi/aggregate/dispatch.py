"""The core: finds out what a call is about, asks the server, and returns what became of it.

A plain call looks one name up in one dict and reads nothing else. Knows neither HTTP nor eras.
"""

import logging
from typing import Final

import msgspec
from msgspec import Raw

from metamcp_asgi.aggregate import failures
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.namespace import Running
from metamcp_asgi.aggregate.page import Page
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.aggregate.rewrite import published_uris
from metamcp_asgi.aggregate.view import View
from metamcp_asgi.errors import ProtocolError, UpstreamError, UpstreamTimeout
from metamcp_asgi.protocol import headers, names
from metamcp_asgi.protocol.hops import MAX_HOPS, comes_from, hops_of, loop
from metamcp_asgi.protocol.jsonrpc import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, Members
from metamcp_asgi.protocol.outcome import Cause, Failure, Outcome, Result, tool_error
from metamcp_asgi.protocol.revisions import LISTS
from metamcp_asgi.upstream.request import Request
from metamcp_asgi.upstream.sessions import Affinity

__all__ = ["answer", "dispatch"]

logger = logging.getLogger("metamcp")

_NO_ARGUMENTS: Final = Raw(b"{}")
_NEEDS: Final = {"tools/call": "tool", "prompts/get": "prompt", "resources/read": "resource"}


async def dispatch(call: Call, running: Running, *, private: bool) -> Outcome | Page:
    """Answer one call.

    Args:
        call: The call.
        running: The namespace of its endpoint.
        private: Whether what the endpoint lists must not be shared between principals.

    Raises:
        ProtocolError: The call itself is wrong.
    """
    if call.hops and (refused := _refused(call, running)):
        if call.method in LISTS:
            raise ProtocolError(INTERNAL_ERROR, refused)
        return _told(call, refused, "refused")
    if call.method in LISTS:
        return await running.page(call, private=private)
    call.onward = running.hops if not call.hops else hops_of((*call.hops, running.node))
    found = await _find(call, running)
    try:
        if running.chain is not None:
            if isinstance(found, Route) and not await running.shows(call, found):
                found = _unknown(call)
            return await running.chain.answer(call, found)
        return await answer(call, found) if isinstance(found, Route) else found
    except UpstreamError as error:
        logger.info("%s %s: %s", call.method, call.target, error)
        cause: Cause = "timeout" if isinstance(error, UpstreamTimeout) else "unavailable"
        return _told(call, str(error), cause)


async def answer(call: Call, route: Route) -> Outcome:
    """Ask a server, and return what the client is told.

    Raises:
        ProtocolError: The call itself is wrong.
        UpstreamError: The server could not be asked.
    """
    outcome = await _send(call, route)
    if isinstance(outcome, Failure):
        return failures.public(outcome, call.method, call.target)
    if route.renamed is not None:
        return Result(b"", published_uris(outcome.split(), route.renamed.published))
    return outcome


def _refused(call: Call, running: Running) -> str:
    """Return why a call that came through other gateways is not answered, or nothing."""
    if comes_from(running.node, call.hops):
        return loop(call.hops, running.node)
    # A list is read on behalf of many namespaces, and goes no further than here.
    if len(call.hops) >= MAX_HOPS and call.method not in LISTS:
        return f"The call came through {len(call.hops)} gateways, and {MAX_HOPS} are the most allowed"
    return ""


async def _find(call: Call, running: Running) -> Route | Outcome:
    route = _look_up(call, running.view)
    if route is None:
        # Its server may not have been read yet, or may have something new that it did not announce.
        await running.settle_for(call.target)
        if (route := _look_up(call, running.view)) is None:
            await running.revalidate(call.method)
            route = _look_up(call, running.view)
    if route is None:
        return _not_found(call, running.view)
    return route


def _look_up(call: Call, view: View) -> Route | Outcome | None:
    if call.method == "tools/call":
        route = view.tools.get(call.target)
        if route is None and call.target in view.refused:
            return tool_error(
                f'Access denied to tool "{call.target}": Tool has been marked as inactive in this namespace', "refused"
            )
        return route
    return view.prompts.get(call.target) if call.method == "prompts/get" else view.resource(call.target)


def _not_found(call: Call, view: View) -> Outcome:
    parts = names.split(call.target)
    missing = {parts[0]: view.unavailable[parts[0]]} if parts and parts[0] in view.unavailable else view.unavailable
    if missing:
        reasons = "; ".join(f"server {name!r} {reason}" for name, reason in missing.items())
        text = f"{_NEEDS[call.method].capitalize()} {call.target} is not available now: {reasons}"
        return _told(call, text, "unavailable")
    return _unknown(call)


def _unknown(call: Call) -> Outcome:
    if call.method == "resources/read":
        return failures.not_found(call.target)
    return Failure(INVALID_PARAMS, f"Unknown {_NEEDS[call.method]}: {call.target}", cause="unknown")


def _told(call: Call, text: str, cause: Cause) -> Outcome:
    # A model can read and work around the one, a program has to handle the other.
    if call.method == "tools/call":
        return tool_error(text, cause)
    return Failure(INTERNAL_ERROR, text, cause=cause)


async def _send(call: Call, route: Route) -> Outcome:
    affinity = Affinity(
        principal=None if call.principal.kind == "anonymous" else call.principal.id, session=call.session
    )
    outcome = await route.server.send(_request(call, route), affinity)
    if isinstance(outcome, Failure) and outcome.code == HEADER_MISMATCH and call.method == "tools/call":
        # The tool's schema is newer than what we know, so the mirrored headers were wrong (T-33).
        await route.catalogue.refresh("tools")
        newer = route.catalogue.find_tool(route.key)
        if newer is not None:
            route = msgspec.structs.replace(route, params=newer.params)
            outcome = await route.server.send(_request(call, route), affinity)
    return outcome


def _request(call: Call, route: Route) -> Request:
    if call.method == "resources/read":
        params = {**call.params, "uri": route.raw}
    else:
        params = {**call.params, "name": route.raw}
    return Request(
        call.method,
        params,
        call.meta,
        route.key,
        _param_headers(call, route, params) if route.params or call.mirrored else b"",
        call.on_progress,
        call.onward,
    )


def _param_headers(call: Call, route: Route, params: Members) -> bytes:
    """Return the ``Mcp-Param-*`` lines: the tool's own from the arguments, others as the client sent them (T-40)."""
    try:
        arguments = msgspec.json.decode(params.get("arguments", _NO_ARGUMENTS)) if route.params else None
    except msgspec.DecodeError as error:
        raise ProtocolError(INVALID_PARAMS, f"params.arguments: {error}") from None
    if call.mirrored is not None and route.params and not call.arguments_rewritten:
        headers.check_params(route.params, arguments, call.mirrored)
    lines = headers.mirror_params(route.params, arguments)
    own = {param.header for param in route.params}
    for name, values in (call.mirrored or {}).items():
        if name not in own and headers.decode_value(values[0]) is not None:
            lines += b"%b: %b\r\n" % (name, values[0])
    return lines
