"""What servers want of a client that repeats its calls: the question, the answers, and the capability it lacks (MRTR).

The same words for modern clients and for those of the REST face. What a state says is not known here.
"""

import msgspec
from msgspec import Raw

from metamcp_asgi.aggregate.call import Inputs
from metamcp_asgi.downstream.handshake import MAX_CAPABILITIES
from metamcp_asgi.downstream.identity import SERVER_INFO_JSON
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import capabilities, jsonrpc, meta
from metamcp_asgi.protocol.capabilities import Capabilities
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, Members
from metamcp_asgi.protocol.outcome import Failure, InputRequired

__all__ = ["input_required", "read_capabilities", "really_lacks", "take_inputs"]


def read_capabilities(declared: Raw, where: str) -> Capabilities:
    """Return the capabilities that a request declares.

    Args:
        declared: What it says.
        where: The member that says it.

    Raises:
        ProtocolError: ``INVALID_PARAMS``, it is no object, or too large.
    """
    # Equal ones are read once, and kept for that.
    if len(declared) > MAX_CAPABILITIES:
        raise ProtocolError(INVALID_PARAMS, f"{where} is larger than {MAX_CAPABILITIES} bytes")
    try:
        return capabilities.read(bytes(declared))
    except msgspec.DecodeError:
        raise ProtocolError(INVALID_PARAMS, f"{where} must be an object") from None


def take_inputs(params: Members) -> Inputs | None:
    """Take what a client brings along for a repeated call out of its params; ``None`` when that is nothing.

    Raises:
        ProtocolError: ``INVALID_PARAMS``, it is malformed (MR-05).
    """
    if "requestState" not in params and "inputResponses" not in params:
        return None
    state, responses = params.pop("requestState", None), params.pop("inputResponses", None)
    try:
        answers = jsonrpc.decode_client(responses) if responses is not None else {}
    except msgspec.ValidationError:
        answers = None
    if answers is None or not all(bytes(answer).startswith(b"{") for answer in answers.values()):
        raise ProtocolError(INVALID_PARAMS, "inputResponses must be an object of objects")
    try:
        return Inputs(answers, msgspec.json.decode(state, type=str) if state is not None else None)
    except msgspec.DecodeError:
        raise ProtocolError(INVALID_PARAMS, "requestState must be a string") from None


def input_required(outcome: InputRequired) -> bytes:
    """Return an ``InputRequiredResult``, which is not to be cached, so without hints (MR-02, CA-01)."""
    result: dict[str, object] = {"resultType": "input_required"}
    if outcome.requests:
        result["inputRequests"] = outcome.requests
    if outcome.state is not None:
        result["requestState"] = outcome.state
    return jsonrpc.encode({**result, "_meta": {meta.SERVER_INFO: SERVER_INFO_JSON}})


def really_lacks(declared: Raw, failure: Failure) -> bool:
    """Tell whether a client did not declare what a server found missing: then the error is the client's own.

    Args:
        declared: The client's capabilities, an object.
        failure: The server's ``MISSING_CAPABILITY``.
    """
    data = failure.data if isinstance(failure.data, Raw) else jsonrpc.encode(failure.data)
    try:
        required = msgspec.json.decode(data, type=_Missing).requiredCapabilities
    except msgspec.DecodeError:
        return False
    able = {name: _parts(value) for name, value in jsonrpc.decode_members(declared).items()}
    if (modes := able.get("elicitation")) is not None and "url" not in modes:
        # Without modes, it means forms (EL-01).
        modes.add("form")
    return any(name not in able or _parts(value) - able[name] for name, value in required.items())


def _parts(capability: Raw) -> set[str]:
    try:
        return set(jsonrpc.decode_members(capability))
    except msgspec.DecodeError:
        return set()


class _Missing(msgspec.Struct):
    requiredCapabilities: Members = {}  # noqa: N815
