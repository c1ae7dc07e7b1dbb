"""What a REST client is told of a call, and of a request that cannot be one.

- 200 with the ``CallToolResult`` of the server as it is. That holds for ``isError``, too: the tool ran, and what went
  wrong is for the model to read, which clients keep from it when the status is an error (defect B19 of MetaMCP).
- 403 for a tool that is switched off, 404 for one that does not exist, with MetaMCP's words for both.
- 422 for arguments that are no JSON object, or that the server refuses, in FastAPI's shape.
- 422 for a tool that needs the user's input, unless the call says that there is a user (``openapi_interactive.py``).
- 502 for a server that is down or broke the protocol, 504 for one that did not answer in time.
- 429 for a tool that is called too often, 503 where another process is out of reach, with ``Retry-After``.

Knows statuses and bodies; knows nothing of how a call is made.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec
from starlette.types import Scope, Send

from metamcp_asgi.aggregate.page import Page
from metamcp_asgi.asgi.answers import send_json, send_refusal
from metamcp_asgi.downstream.openapi_interactive import answered
from metamcp_asgi.downstream.statuses import later
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.protocol import meta
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, MISSING_CAPABILITY, encode
from metamcp_asgi.protocol.outcome import Failure, InputRequired, Outcome, Result

__all__ = ["Refused", "Unprocessable", "send_outcome"]

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

_STATUS: Final = {
    "refused": (403, "Tool access denied"),
    "unknown": (404, "Tool not found"),
    "unavailable": (502, "Tool execution failed"),
    "timeout": (504, "Tool execution timed out"),
    "server": (502, "Tool execution failed"),
    "away": (503, "Tool execution failed"),
    "limited": (429, "Rate limit exceeded"),
}


class Refused(MetaMCPError):
    """A request that gets an error in MetaMCP's shape.

    Args:
        status: The HTTP status.
        error: What is wrong, in MetaMCP's words.
        message: The same for a person, with what would be right.
        allow: The methods that are allowed, for a 405.
        headers: More headers, names in lower case.
    """

    def __init__(self, status: int, error: str, message: str, allow: str = "", headers: Headers = ()) -> None:
        self._status = status
        self._body = {"error": error, "message": message}
        self._headers = [(b"allow", allow.encode()), *headers] if allow else headers
        super().__init__(message)

    async def send(self, scope: Scope, send: Send) -> None:
        """Answer so."""
        await send_refusal(scope, send, self._status, self._body, self._headers)


class Unprocessable(MetaMCPError):
    """Arguments that are not what the tool takes; answered 422 in FastAPI's shape.

    Args:
        message: What is wrong.
        loc: Where, as FastAPI has it; by default in the body.
        kind: FastAPI's ``type``.
    """

    def __init__(self, message: str, loc: list[str] | None = None, kind: str = "value_error") -> None:
        self.loc = ["body"] if loc is None else loc
        self.kind = kind
        super().__init__(message)

    async def send(self, scope: Scope, send: Send) -> None:
        """Answer so."""
        detail = [{"loc": self.loc, "msg": str(self), "type": self.kind}]
        await send_json(scope, send, 422, encode({"detail": detail}))


async def send_outcome(scope: Scope, send: Send, outcome: Outcome | Page, *, interactive: bool = False) -> None:
    """Answer what a server said to a call.

    Args:
        scope: The request.
        send: The ASGI channel.
        outcome: What became of the call.
        interactive: Whether the call says that there is a user.

    Raises:
        Refused: The call failed.
        Unprocessable: Its arguments are why.
    """
    if isinstance(outcome, InputRequired) or (
        interactive and isinstance(outcome, Result) and outcome.cause == "server"
    ):
        await send_json(scope, send, 200, answered(outcome))
        return
    if isinstance(outcome, Result) and outcome.cause == "server":
        content = outcome.raw if outcome.members is None else meta.legacy_result(outcome.members)
        await send_json(scope, send, 200, bytes(content))
        return
    if isinstance(outcome, Failure):
        message = outcome.message
        if outcome.cause == "server" and outcome.code == INVALID_PARAMS:
            raise Unprocessable(message, kind="invalid_arguments")
        if outcome.code == MISSING_CAPABILITY:
            text = f"The server needs a client capability that is not available here: {message}"
            raise Unprocessable(text, kind="missing_capability")
        if (passing := later(outcome)) is not None:
            raise Refused(passing[0], _STATUS[outcome.cause][1], message, headers=passing[1])
    else:
        assert isinstance(outcome, Result)
        message = msgspec.json.decode(outcome.raw)["content"][0]["text"]
    status, error = _STATUS[outcome.cause]
    raise Refused(status, error, message)
