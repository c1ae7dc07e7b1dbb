"""Calls over REST whose client can be asked, as modern MCP clients are (eras.md 2.6, "REST/OpenAPI client").

Such a call is posted with a media type of its own, and its arguments are one member of the body beside what the client
declares and what it was asked for:

    {"arguments": {...}, "clientCapabilities": {"elicitation": {}}, "inputResponses": {...}, "requestState": "..."}

It is answered with ``resultType`` ``complete``, or with ``input_required``, ``inputRequests`` and ``requestState``;
then the client repeats the call with its answers. The members have the form that they have in MCP 2026-07-28.
"""

from typing import Final

from msgspec import Raw, Struct

from metamcp_asgi.aggregate.call import Inputs
from metamcp_asgi.downstream.identity import SERVER_INFO_JSON
from metamcp_asgi.downstream.inputs import input_required, read_capabilities, take_inputs
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import meta
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, Members
from metamcp_asgi.protocol.outcome import InputRequired, Result

__all__ = ["MEDIA_TYPE", "Posted", "answered", "read"]

MEDIA_TYPE: Final = b"application/vnd.metamcp.call+json"

_NO_ARGUMENTS: Final = Raw(b"{}")


class Posted(Struct, frozen=True):
    """A call as it was posted; ``interactive`` tells that it is one of those described above."""

    arguments: Raw = _NO_ARGUMENTS
    interactive: bool = False
    capabilities: Capabilities = NOTHING
    inputs: Inputs | None = None


def read(members: Members) -> Posted:
    """Return what an interactive call says.

    Args:
        members: The body.

    Raises:
        ProtocolError: ``INVALID_PARAMS``, it is malformed.
    """
    inputs = take_inputs(members)
    arguments = members.pop("arguments", _NO_ARGUMENTS)
    declared = members.pop("clientCapabilities", None)
    if members:
        raise ProtocolError(
            INVALID_PARAMS, f"the body has no member {next(iter(members))!r}; arguments are in `arguments`"
        )
    if not bytes(arguments).startswith(b"{"):
        raise ProtocolError(INVALID_PARAMS, "arguments must be an object")
    able = read_capabilities(declared, "clientCapabilities") if declared is not None else NOTHING
    # There is no way to ask for a task's state here.
    return Posted(arguments, True, able.following_tasks(False), inputs)


def answered(outcome: Result | InputRequired) -> bytes:
    """Return the body that answers an interactive call."""
    if isinstance(outcome, InputRequired):
        return input_required(outcome)
    return meta.modern_result(outcome.split(), SERVER_INFO_JSON)
