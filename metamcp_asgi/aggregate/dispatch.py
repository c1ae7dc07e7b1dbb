"""The core: finds out what a call is about, asks the server, and returns what became of it.

A plain call looks one name up in one dict and reads nothing else. Knows neither HTTP nor eras.
"""

import logging
from collections.abc import Awaitable
from functools import partial
from typing import Final

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.aggregate import failures
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.completion import COMPLETE, accepts, bounded, onward, reference, route_of
from metamcp_asgi.aggregate.interaction.interaction import Interaction
from metamcp_asgi.aggregate.interaction.state import digest
from metamcp_asgi.aggregate.namespace import Running
from metamcp_asgi.aggregate.page import Page
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.aggregate.rewrite import published_uris
from metamcp_asgi.aggregate.task import LongRunning, insists, is_task
from metamcp_asgi.aggregate.view import View
from metamcp_asgi.errors import ProtocolError, UpstreamError, UpstreamTimeout
from metamcp_asgi.protocol import headers, names
from metamcp_asgi.protocol.hops import MAX_HOPS, comes_from, hops_of, loop
from metamcp_asgi.protocol.jsonrpc import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, Members, encode
from metamcp_asgi.protocol.outcome import Cause, Failure, Outcome, Result, tool_error
from metamcp_asgi.protocol.revisions import LISTS, TASK_METHODS
from metamcp_asgi.upstream.request import OnLog, Request
from metamcp_asgi.upstream.sharing import Affinity

__all__ = ["Ways", "answer", "dispatch", "find"]

logger = logging.getLogger("metamcp")

_NO_ARGUMENTS: Final = Raw(b"{}")
_NEEDS: Final = {"tools/call": "tool", "prompts/get": "prompt", "resources/read": "resource"}


class Ways(Struct, frozen=True):
    """The ways in which a call can be more than a request and its response."""

    interaction: Interaction
    tasks: LongRunning


async def dispatch(call: Call, running: Running, ways: Ways, *, private: bool) -> Outcome | Page:
    """Answer one call.

    Args:
        call: The call.
        running: The namespace of its endpoint.
        ways: What goes beyond one request and its response.
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
    if call.method == COMPLETE:
        return await _complete(call, running)
    if call.method == "tools/call":
        # The tasks of 2025-11-25 are not offered, so a client's wish for one is ignored (TK-03, TK-07).
        call.params.pop("task", None)
    try:
        if call.method in TASK_METHODS:
            told = await ways.tasks.answer(call, running, _affinity(call))
            return failures.public(told, call) if isinstance(told, Failure) else told
        found = await _find(call, running)
        if running.chain is not None:
            if call.capabilities.tasks and running.chain.concerns(call.method):
                # How a task ends would be told without the middlewares, so a server may not answer with one.
                call.capabilities = call.capabilities.following_tasks(False)
            if call.capabilities.interactive or call.inputs is not None:
                digest(call)  # of what the client sent, before a middleware changes it
            if isinstance(found, Route) and not await running.shows(call, found):
                found = _unknown(call)
            return await running.chain.answer(call, found)
        return await answer(ways, call, found) if isinstance(found, Route) else found
    except UpstreamError as error:
        logger.info("%s %s: %s", call.method, call.target, error)
        cause: Cause = "timeout" if isinstance(error, UpstreamTimeout) else "unavailable"
        return _told(call, str(error), cause)


async def answer(ways: Ways, call: Call, route: Route) -> Outcome:
    """Ask a server, and return what the client is told.

    Args:
        ways: What goes beyond one request and its response.
        call: The call.
        route: Where it leads.

    Raises:
        ProtocolError: The call itself is wrong.
        UpstreamError: The server could not be asked.
    """
    if route.task:
        outcome = await ways.tasks.legacy(call, route, _send)
    else:
        outcome = await _sent(ways, call, route)
    if isinstance(outcome, Failure):
        if call.method == "tools/call" and not call.capabilities.tasks and insists(outcome):
            outcome = await ways.tasks.modern(call, route, partial(_sent, ways))
        if isinstance(outcome, Failure):
            return failures.public(outcome, call)
    elif is_task(outcome):
        return ways.tasks.published(call, route.server, outcome.split(), route.renamed)
    if route.renamed is not None and isinstance(outcome, Result):
        return Result(b"", published_uris(outcome.split(), route.renamed.published))
    return outcome


def _sent(ways: Ways, call: Call, route: Route) -> Awaitable[Outcome]:
    """Have a server answer; no coroutine of its own, as every call comes through here."""
    if call.capabilities.interactive or call.inputs is not None:
        return ways.interaction.send(call, route, _send)
    return _send(call, route)


async def _complete(call: Call, running: Running) -> Outcome:
    """Have the server of a prompt or template complete an argument; what is not listed has no completion either."""
    ref = reference(call)
    method, target = ref.listed
    of = msgspec.structs.replace(call, method=method, target=target)
    found = route_of(ref, running.view) or await _find(of, running)
    if not isinstance(found, Route) or (running.chain is not None and not await running.shows(of, found)):
        return Failure(INVALID_PARAMS, f"Unknown {_NEEDS[method]}: {target}", cause="unknown")
    if not accepts(found.server.peer):
        return bounded(None)
    request = Request(COMPLETE, onward(call, ref, found), call.meta, hops=call.onward, trace=call.trace)
    try:
        outcome = bounded(await found.server.send(request, _affinity(call)))
    except UpstreamError as error:
        logger.info("%s %s: %s", call.method, target, error)
        return _told(call, str(error), "timeout" if isinstance(error, UpstreamTimeout) else "unavailable")
    return failures.public(outcome, call) if isinstance(outcome, Failure) else outcome


def _refused(call: Call, running: Running) -> str:
    """Return why a call that came through other gateways is not answered, or nothing."""
    if comes_from(running.node, call.hops):
        return loop(call.hops, running.node)
    # A list is read on behalf of many namespaces, and goes no further than here.
    if len(call.hops) >= MAX_HOPS and call.method not in LISTS:
        return f"The call came through {len(call.hops)} gateways, and {MAX_HOPS} are the most allowed"
    return ""


async def find(call: Call, running: Running) -> Route | Outcome:
    """Return where a call leads if its client may see that, or else what it is answered.

    Raises:
        ProtocolError: A middleware failed.
    """
    found = await _find(call, running)
    if isinstance(found, Route) and running.chain is not None and not await running.shows(call, found):
        return _unknown(call)
    return found


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
    affinity = _affinity(call)
    outcome = await route.server.send(_request(call, route), affinity)
    if isinstance(outcome, Failure) and outcome.code == HEADER_MISMATCH and call.method == "tools/call":
        # The tool's schema is newer than what we know, so the mirrored headers were wrong (T-33).
        await route.catalogue.refresh("tools")
        newer = route.catalogue.find_tool(route.key)
        if newer is not None:
            route = msgspec.structs.replace(route, params=newer.params)
            outcome = await route.server.send(_request(call, route), affinity)
    return outcome


def _affinity(call: Call) -> Affinity:
    return Affinity(principal=None if call.principal.kind == "anonymous" else call.principal.id, session=call.session)


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
        call.capabilities,
        call.ask,
        call.log_level,
        _signed(call.on_log, route.server.name) if call.on_log is not None else None,
        trace=call.trace,
    )


def _signed(on_log: OnLog, server: str) -> OnLog:
    """Return what relays log messages under the name of the server that wrote them (eras.md 2.9)."""

    def told(members: Members) -> None:
        own = msgspec.json.decode(members.get("logger", b"null"))
        name = f"{server}/{own}" if isinstance(own, str) and own else server
        on_log({**members, "logger": Raw(encode(name))})

    return told


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
