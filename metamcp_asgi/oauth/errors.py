"""What the endpoints of the authorization server refuse, in OAuth's words."""

from metamcp_asgi.errors import MetaMCPError

__all__ = ["OAuthError"]


class OAuthError(MetaMCPError):
    """A request of a client that is refused.

    Args:
        error: OAuth's name of the reason: ``invalid_grant``.
        description: What is wrong and what would be right; never a secret.
        status: HTTP status.
        wait: Seconds after which it may be tried again, for a 429.
    """

    def __init__(self, error: str, description: str, status: int = 400, wait: int = 0) -> None:
        self.error = error
        self.description = description
        self.status = status
        self.wait = wait
        super().__init__(description)
