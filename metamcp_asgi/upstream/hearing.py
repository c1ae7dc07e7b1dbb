"""What servers write to their stderr, for whoever listens: without the secrets that the gateway has given them."""

from collections.abc import Callable
from typing import Final, TypeAlias

from metamcp_asgi.config.sensitive import MASK, in_args, plain_name
from metamcp_asgi.config.snapshot import Server

__all__ = ["Heard", "hearing", "unheard"]

Heard: TypeAlias = Callable[[str, str], object]
"""Is told a line that a server wrote, after the name that no other server has."""

_SHORTEST: Final = 6
"""Characters of a secret that is looked for; a shorter one is part of many words."""


def unheard(server: str, line: str) -> None:
    """Listen to nobody."""


def hearing(server: Server, heard: Heard) -> Callable[[str], None]:
    """Return what passes a server's lines on.

    Args:
        server: Its configuration, whose secrets are not passed on.
        heard: Is told the lines.
    """
    secrets = {value for name, value in server.env if not plain_name(name)}
    secrets.update(
        arg[span.start : span.end]
        for arg, spans in zip(server.args, in_args(server.args), strict=True)
        for span in spans
    )
    # The longest first: one may be a part of another.
    found = sorted((secret for secret in secrets if len(secret) >= _SHORTEST), key=len, reverse=True)

    def hear(line: str) -> None:
        for secret in found:
            line = line.replace(secret, MASK)
        heard(server.known_as, line)

    return hear
