"""Keeps what the gateway logs, beside wherever else it goes."""

import logging
from typing import Final

from metamcp_asgi.lines.lines import Level, Lines

__all__ = ["LineHandler"]

_ELSEWHERE: Final = frozenset({"metamcp.access", "metamcp.audit", "metamcp.upstream.stderr"})
"""A line for each request is no news; what servers write to stderr comes without ``logging``."""
_OF_SERVERS: Final = ("metamcp.upstream", "metamcp.catalogue", "metamcp.companion")


class LineHandler(logging.Handler):
    """Keeps records of ``metamcp`` from INFO on; one with ``extra={"server": name}`` is about that server.

    Args:
        lines: Where they are kept.
    """

    def __init__(self, lines: Lines) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record; of an exception, its last line."""
        if record.name in _ELSEWHERE:
            return
        try:
            server: str = getattr(record, "server", "")
            about = bool(server) and record.name.startswith(_OF_SERVERS)
            text = record.getMessage()
            # A traceback quotes what was worked on; for those who see the state of a server only, it is too much.
            if record.exc_info and (error := record.exc_info[1]) is not None and not about:
                text = f"{text}: {type(error).__name__}: {error}"
            self._lines.add(_level(record.levelno), "server" if about else "gateway", text, server)
        except Exception:  # as all handlers of ``logging``: a line that cannot be kept stops nobody's work
            self.handleError(record)


def _level(number: int) -> Level:
    if number >= logging.ERROR:
        return "error"
    return "warning" if number >= logging.WARNING else "info"
