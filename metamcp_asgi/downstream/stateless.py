"""What is off where every request stands alone (``METAMCP_STATELESS``), and how that is said.

Many processes without a Redis cannot reach each other, so whatever needs that would work some of the time. It is off
for all requests instead, and nobody is told that it is there (eras.md 3.4): clients of the legacy revisions have no
stream of their own, nothing that is kept for their session, and cannot be asked; legacy servers hear so. Modern
clients lack only the questions of legacy servers.
"""

from typing import Final

from starlette.types import Receive, Scope, Send

from metamcp_asgi.asgi.answers import send_refusal

__all__ = ["NEEDS_STATE", "no_sse"]

NEEDS_STATE: Final = frozenset({"logging/setLevel", "resources/subscribe", "resources/unsubscribe"})
"""The methods of legacy sessions that change what the session is."""


async def no_sse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for both URLs of HTTP+SSE, whose sessions are streams of one process: 501, and where to go."""
    message = "This gateway keeps no sessions (METAMCP_STATELESS); use Streamable HTTP, at .../mcp instead."
    await send_refusal(scope, send, 501, {"error": "HTTP+SSE is switched off", "message": message})
