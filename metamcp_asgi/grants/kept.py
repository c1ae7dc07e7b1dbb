"""What is kept of a grant, wherever that is, for all processes."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from metamcp_asgi.grants.registration import Client
from metamcp_asgi.grants.tokens import Tokens

__all__ = ["Kept", "Ledger"]


class Kept(Struct, frozen=True):
    """What is kept of a grant.

    Args:
        client: Who we are at the issuer; also without tokens, as a registration is used again.
        token_endpoint: Where tokens are refreshed.
        resource: The server that they are for.
        scope: What was asked for.
        url: The server's URL at that time; tokens are sent to no other.
        tokens: The present ones; ``None`` before somebody has agreed, and after they were taken back.
        wanted: What the server has said to need besides, for when somebody agrees anew.
    """

    client: Client | None = None
    token_endpoint: str = ""
    resource: str = ""
    scope: str | None = None
    url: str = ""
    tokens: Tokens | None = None
    wanted: str | None = None


class Ledger(Protocol):
    """Where one grant is kept, for all processes."""

    async def read(self) -> Kept:
        """Return what is kept.

        Raises:
            GrantError: It cannot be read, or there is nowhere to keep it.
        """

    async def refreshed(self, kept: Kept) -> None:
        """Keep new tokens.

        Raises:
            GrantError: They cannot be written.
        """

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Be the only one, of all processes, to get new tokens."""
