"""The errors this package raises on purpose, each naming whose fault it was.

Every message says what is wrong, where, and what would be right; none ever contains a secret.
"""

__all__ = [
    "ConfigError",
    "MetaMCPError",
    "ProtocolError",
    "UpstreamError",
    "UpstreamProtocolError",
    "UpstreamTimeout",
    "UpstreamUnavailable",
]


class MetaMCPError(Exception):
    """Base of every error of this package."""


class ConfigError(MetaMCPError):
    """The configuration is wrong: the operator's fault.

    Args:
        reason: What is wrong and what would be right.
        path: Where in the document, for example ``mcpServers.time.args[0]``; empty for the whole.
        source: The file it was read from, when there is one.
    """

    def __init__(self, reason: str, *, path: str = "", source: str = "") -> None:
        self.reason = reason
        self.path = path
        self.source = source
        super().__init__(": ".join(part for part in (source, path, reason) if part))


class ProtocolError(MetaMCPError):
    """A peer's message breaks the protocol; carries the JSON-RPC error that answers it.

    Args:
        code: JSON-RPC error code.
        message: Human-readable reason, safe to send to the peer.
        data: Optional ``error.data``, any JSON-serialisable value.
    """

    def __init__(self, code: int, message: str, data: object = None) -> None:
        self.code = code
        self.message = message
        self.data = data
        super().__init__(message)


class UpstreamError(MetaMCPError):
    """A server could not do what was asked of it; the message is safe to show to a client."""


class UpstreamUnavailable(UpstreamError):
    """The server cannot be reached, will not start, or went away.

    Args:
        reason: What happened, in one line.
        sent: Whether the request may have reached the server. Only an unsent request may be replayed.
    """

    def __init__(self, reason: str, *, sent: bool = False) -> None:
        self.sent = sent
        super().__init__(reason)


class UpstreamTimeout(UpstreamError):
    """The server did not answer in time."""


class UpstreamProtocolError(UpstreamError):
    """The server answered with something that is not MCP."""
