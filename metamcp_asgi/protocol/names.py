"""Names of tools and prompts as an endpoint publishes them: ``{server}__{name}``.

Drop-in compatible with MetaMCP (dossier 4.4): a published name is split at the first ``__``, which no server
name contains, so that nested gateways (``outer__inner__tool``) need no special case.
"""

import re
from typing import Final

__all__ = ["SEPARATOR", "qualify", "sanitize", "split"]

SEPARATOR: Final = "__"
_NOT_IN_SERVER_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]")


def qualify(server: str, name: str) -> str:
    """Return the published name of a server's tool or prompt."""
    return f"{server}{SEPARATOR}{name}"


def split(published: str) -> tuple[str, str] | None:
    """Return ``(server, name)``, or ``None`` when there is no server part."""
    server, separator, name = published.partition(SEPARATOR)
    return (server, name) if separator and server and name else None


def sanitize(server: str) -> str:
    """Return a server name without the characters that a tool name may not have, as MetaMCP does."""
    return _NOT_IN_SERVER_NAME.sub("", server)
