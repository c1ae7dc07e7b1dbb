"""The levels of log messages, by RFC 5424 6.2.1, from the most talkative on."""

from typing import Final

__all__ = ["LEVELS", "at_least"]

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

_RANK: Final = {level: rank for rank, level in enumerate(LEVELS)}


def at_least(level: str, threshold: str) -> bool:
    """Tell whether a message of ``level`` is to be shown from ``threshold`` upwards; an unknown level is shown."""
    return _RANK.get(level, len(LEVELS)) >= _RANK[threshold]
