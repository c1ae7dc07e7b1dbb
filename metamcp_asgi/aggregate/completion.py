"""``completion/complete``: the server of a prompt or template is asked for values of one argument (CO-01, CO-02)."""

from typing import Any, Final, Literal

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.aggregate.view import View
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, METHOD_NOT_FOUND, Members, encode
from metamcp_asgi.protocol.outcome import Failure, Outcome, Result
from metamcp_asgi.upstream.request import Peer

__all__ = ["COMPLETE", "Reference", "accepts", "bounded", "onward", "reference", "route_of"]

COMPLETE: Final = "completion/complete"
MAX_VALUES: Final = 100
"""The most that a result may hold."""

_WITHOUT_FLAG: Final = "2024-11-05"
"""The revision whose servers do not say whether they complete."""
_WITHOUT_CONTEXT: Final = (_WITHOUT_FLAG, "2025-03-26")
_NONE: Final = Result(b'{"completion":{"values":[]}}')


class Reference(Struct):
    """What an argument belongs to: a prompt by its name, or a resource template by its text."""

    type: Literal["ref/prompt", "ref/resource"]
    name: str = ""
    uri: str = ""

    @property
    def listed(self) -> tuple[str, str]:
        """The method that reads it, and its published name."""
        return ("prompts/get", self.name) if self.type == "ref/prompt" else ("resources/read", self.uri)


class _Argument(Struct):
    name: str
    value: str


class _Params(Struct):
    ref: Reference
    argument: _Argument


def reference(call: Call) -> Reference:
    """Return what a call wants completed.

    Raises:
        ProtocolError: Its params are malformed.
    """
    try:
        return msgspec.json.decode(encode(call.params), type=_Params).ref
    except msgspec.ValidationError as error:
        raise ProtocolError(INVALID_PARAMS, f"Invalid params: {error}") from None


def route_of(ref: Reference, view: View) -> Route | None:
    """Return where a reference leads."""
    if ref.type == "ref/prompt":
        return view.prompts.get(ref.name)
    return view.references.get(ref.uri) or view.resource(ref.uri)


def accepts(peer: Peer | None) -> bool:
    """Tell whether a server may be asked at all."""
    return peer is None or "completions" in peer.capabilities or peer.revision == _WITHOUT_FLAG


def onward(call: Call, ref: Reference, route: Route) -> Members:
    """Return the params in the server's own names."""
    member = "name" if ref.type == "ref/prompt" else "uri"
    params = {**call.params, "ref": Raw(encode({"type": ref.type, member: route.raw}))}
    peer = route.server.peer
    if peer is not None and peer.revision in _WITHOUT_CONTEXT:
        params.pop("context", None)
    return params


def bounded(outcome: Outcome | None) -> Outcome:
    """Return an outcome as a client is told it; what cannot be completed has no values.

    Args:
        outcome: The server's, ``None`` when it was not asked.
    """
    if outcome is None or (isinstance(outcome, Failure) and outcome.code == METHOD_NOT_FOUND):
        return _NONE
    if isinstance(outcome, Result):
        members = outcome.split()
        completion: Any = msgspec.json.decode(members.get("completion", b"{}"))
        values = completion.get("values") if isinstance(completion, dict) else None
        if isinstance(values, list) and len(values) > MAX_VALUES:
            told = {**completion, "values": values[:MAX_VALUES], "hasMore": True}
            return Result(b"", {**members, "completion": Raw(encode(told))})
    return outcome
