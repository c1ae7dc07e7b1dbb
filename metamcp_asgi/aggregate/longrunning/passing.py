"""Passes the tasks of modern servers on to clients that follow tasks, and what these ask of them back (SEP-2663).

Under sealed ids, which route without memory and are good for nobody else; with questions and URIs as everywhere.
"""

from typing import Final

from msgspec import UNSET, Raw

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.interaction.questions import presented
from metamcp_asgi.aggregate.longrunning.told import read
from metamcp_asgi.aggregate.namespace import Running
from metamcp_asgi.aggregate.published import Renamed
from metamcp_asgi.aggregate.rewrite import published_uris
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, Members, decode_members, encode
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result, internal
from metamcp_asgi.upstream.interface import Server
from metamcp_asgi.upstream.questions import refusal
from metamcp_asgi.upstream.request import Question, Request

__all__ = ["UNKNOWN", "inputs", "passed", "passed_back"]

UNKNOWN: Final = Failure(INVALID_PARAMS, "Unknown task", cause="unknown")
_COMPLETE: Final = Raw(b'"complete"')


def passed(call: Call, token: str, server: Server, members: Members, renamed: Renamed | None) -> Outcome:
    """Return what a client is told of a server's task.

    Args:
        call: What the server answered.
        token: The id that the client knows the task by.
        server: The server.
        members: Its answer.
        renamed: Which of the server's URIs are published in another form.

    Raises:
        UpstreamProtocolError: The answer is malformed.
    """
    task = read(server, members)
    shown = {**members, "taskId": Raw(encode(token))}
    if task.inputRequests:
        questions = {key: presented(question, server.name) for key, question in task.inputRequests.items()}
        if isinstance(told := inputs(call, questions), Failure):
            return told
        shown["inputRequests"] = told
    if renamed is not None and task.result is not UNSET:
        shown["result"] = Raw(encode(published_uris(decode_members(task.result), renamed.published)))
    return Result(b"", shown)


async def passed_back(call: Call, own: str, server: Server, running: Running) -> Outcome:
    """Have a server answer a request about a task of its own.

    Args:
        call: The request.
        own: The server's own id of the task.
        server: The server.
        running: The namespace of the endpoint.

    Raises:
        UpstreamError: The server could not be asked, or answered with something that is not MCP.
    """
    params = {**call.params, "taskId": Raw(encode(own))}
    request = Request(call.method, params, call.meta, own, hops=call.onward, capabilities=call.capabilities)
    outcome = await server.send(request, call.affinity)
    if isinstance(outcome, Result) and "taskId" in (members := outcome.split()):
        return passed(call, call.target, server, {**members, "resultType": _COMPLETE}, running.renamed(server))
    return UNKNOWN if isinstance(outcome, Failure) and outcome.code == INVALID_PARAMS else outcome


def inputs(call: Call, questions: dict[str, Question]) -> Raw | Failure:
    """Return the ``inputRequests`` of a task, or why a client is not shown them: it did not offer that (MR-03).

    Args:
        call: The request about the task.
        questions: What the task asks, in the words for clients.
    """
    told = {}
    for key, asked in questions.items():
        if (refused := refusal(call.capabilities, asked.method, asked.params)) is not None:
            return internal(f"The task asks for input that was not offered to it: {refused.message}")
        told[key] = {"method": asked.method, "params": asked.params}
    return Raw(encode(told))
