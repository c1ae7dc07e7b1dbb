"""What a call ends with instead of a result, as exceptions that pass through the middlewares."""

from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.protocol.outcome import Failure, InputRequired

__all__ = ["CallFailed", "InputNeeded"]


class CallFailed(MetaMCPError):
    """A call was answered with a JSON-RPC error; raise it to answer so.

    Args:
        failure: The error.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure

    @classmethod
    def of(cls, code: int, message: str) -> "CallFailed":
        """Return the failure with this JSON-RPC code and message."""
        return cls(Failure(code, message))


class InputNeeded(MetaMCPError):
    """The call waits for the client's input, and will be repeated with it: no result yet, and no failure.

    Let it pass. What a middleware keeps or repeats is for results.

    Args:
        outcome: What the client is asked.
    """

    def __init__(self, outcome: InputRequired) -> None:
        super().__init__("the client is asked for input")
        self.outcome = outcome
