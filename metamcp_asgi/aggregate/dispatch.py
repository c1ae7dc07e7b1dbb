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
from metamcp_asgi.aggregate.interaction.interaction import Interaction, Send
from metamcp_asgi.aggregate.interaction.pages import URL_REQUIRED, in_words
from metamcp_asgi.aggregate.interaction.state import digest
from metamcp_asgi.aggregate.longrunning import driving
from metamcp_asgi.aggregate.longrunning.tasks import LongRunning
from metamcp_asgi.aggregate.longrunning.told import insists, is_task
from metamcp_asgi.aggregate.namespace import Running
from metamcp_asgi.aggregate.page import Page
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.aggregate.rewrite import published_uris
from metamcp_asgi.aggregate.view import View
from metamcp_asgi.errors import ProtocolError, UpstreamError, UpstreamTimeout
from metamcp_asgi.protocol import headers, names
from metamcp_asgi.protocol.hops import MAX_HOPS, comes_from, hops_of, loop
from metamcp_asgi.protocol.jsonrpc import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    Members,
    encode,
)
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result, tool_error
from metamcp_asgi.protocol.revisions import LISTS, TASK_METHODS, TASKS_OF_2025
from metamcp_asgi.upstream.granted import AuthorizationNeeded
from metamcp_asgi.upstream.request import OnLog, Request

__all__ = ["Ways", "answer", "dispatch", "find", "send"]

logger = logging.getLogger("metamcp")

_ABOUT_TASKS: Final = TASK_METHODS | TASKS_OF_2025
_NO_ARGUMENTS: Final = Raw(b"{}")
_NEEDS: Final = {"tools/call": "tool", "prompts/get": "prompt", "resources/read": "resource"}


class Ways(Struct, frozen=True):
    """How a server is asked, and the ways in which a call can be more than a request and its response."""

    interaction: Interaction
    tasks: LongRunning
    send: Send


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
        return failures.told(call, refused, "refused")
    if call.method in LISTS:
        return await running.page(call, private=private)
    call.onward = running.hops if not call.hops else hops_of((*call.hops, running.node))
    if call.method == COMPLETE:
        return await _complete(call, running)
    if call.method == "tools/call":
        # What a client of 2025-11-25 wishes for is in the call; of others, it is ignored (TK-03, TK-07).
        call.params.pop("task", None)
    try:
        if call.method in _ABOUT_TASKS:
            told = await ways.tasks.answer(call, running)
            return failures.public(told, call) if isinstance(told, Failure) else told
        found = _look_up(call, running.view) or await _find(call, running)
        if isinstance(found, Route):
            call.server = found.server.name
            if call.method != "resources/read":
                call.name = found.key
            if found.task and ways.tasks.wanted(call, found):
                return await ways.tasks.begin(call, found, partial(_kept, running, ways, found))
            if call.task is not None:
                return Failure(METHOD_NOT_FOUND, f"Tool {call.target} does not run as a task")
            if running.chain is None:
                return await answer(ways, call, found)
        elif call.task is not None:
            return _no_task(found)
        return await _answered(call, running, ways, found)
    except UpstreamError as error:
        return _broken(call, error)


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
    if route.task and (route.task == "required" or call.begun is not None):
        drive = driving.modern if route.task == "extension" else driving.legacy
        outcome = await _sent(ways, call, route, partial(drive, ways.send))
    else:
        outcome = await _sent(ways, call, route, ways.send)
    if isinstance(outcome, Failure):
        if call.method == "tools/call" and call.drives and not call.capabilities.tasks and insists(outcome):
            outcome = await _sent(ways, call, route, partial(driving.modern, ways.send))
        elif outcome.code == URL_REQUIRED and not call.capabilities.interactive:
            outcome = in_words(call, outcome, route.server.name)
        if isinstance(outcome, Failure):
            return failures.public(outcome, call)
    elif is_task(outcome):
        return ways.tasks.passed(call, route, outcome.split())
    if route.renamed is not None and isinstance(outcome, Result):
        return Result(b"", published_uris(outcome.split(), route.renamed.published))
    return outcome


async def _answered(call: Call, running: Running, ways: Ways, found: Route | Outcome) -> Outcome:
    """Answer a call through the middlewares, where there are some."""
    if running.chain is None:
        return await answer(ways, call, found) if isinstance(found, Route) else found
    if call.capabilities.tasks and running.chain.concerns(call.method):
        # How a server's task ends would be told without the middlewares, so it may not answer with one.
        call.capabilities = call.capabilities.following_tasks(False)
    if call.capabilities.interactive or call.inputs is not None:
        digest(call)  # of what the client sent, before a middleware changes it
    if isinstance(found, Route) and not await running.shows(call, found):
        found = _unknown(call)
    return await running.chain.answer(call, found)


async def _kept(running: Running, ways: Ways, route: Route, call: Call) -> Outcome:
    """Answer a call that is kept as a task: what breaks is an outcome, too."""
    try:
        return await _answered(call, running, ways, route)
    except UpstreamError as error:
        return _broken(call, error)


def _no_task(outcome: Outcome) -> Failure:
    """Return why a call is no task, where there is no tool: a client of 2025-11-25 takes no result for that (TK-07)."""
    if isinstance(outcome, Failure):
        return outcome
    told = msgspec.json.decode(outcome.raw, type=_Content) if isinstance(outcome, Result) else _Content()
    return Failure(INVALID_PARAMS, " ".join(block.text for block in told.content), cause="unknown")


class _Text(Struct):
    text: str = ""


class _Content(Struct):
    content: list[_Text] = []


def _broken(call: Call, error: UpstreamError) -> Outcome:
    logger.info("%s %s: %s", call.method, call.target, error, extra={"server": call.server})
    return failures.told(call, str(error), "timeout" if isinstance(error, UpstreamTimeout) else "unavailable")


def _sent(ways: Ways, call: Call, route: Route, send: Send) -> Awaitable[Outcome]:
    """Have a server answer; no coroutine of its own, as every call comes through here."""
    if call.capabilities.interactive or call.inputs is not None:
        return ways.interaction.send(call, route, send)
    return send(call, route)


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
        outcome = bounded(await found.server.send(request, call.affinity))
    except UpstreamError as error:
        logger.info("%s %s: %s", call.method, target, error)
        return failures.told(call, str(error), "timeout" if isinstance(error, UpstreamTimeout) else "unavailable")
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
        return failures.told(call, text, "unavailable")
    return _unknown(call)


def _unknown(call: Call) -> Outcome:
    if call.method == "resources/read":
        return failures.not_found(call.target)
    return Failure(INVALID_PARAMS, f"Unknown {_NEEDS[call.method]}: {call.target}", cause="unknown")


async def send(call: Call, route: Route) -> Outcome:
    """Ask a server.

    Args:
        call: The call.
        route: Where it leads.

    Raises:
        UpstreamError: The server could not be asked.
    """
    affinity = call.affinity
    try:
        outcome = await route.server.send(_request(call, route), affinity)
    except AuthorizationNeeded as error:
        if error.page is None:
            raise
        return failures.page_first(str(error), error.page)
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
