"""What tools say of themselves in their annotations, as badges of a list."""

from typing import Any, Final

from metamcp_asgi.pages.i18n import N_

__all__ = ["hints_of"]

_HINTS: Final = (
    ("readOnlyHint", N_("reads only"), "good"),
    ("destructiveHint", N_("may destroy"), "bad"),
    ("idempotentHint", N_("repeatable"), ""),
    ("openWorldHint", N_("reaches outside"), ""),
)


def hints_of(annotations: Any) -> list[tuple[str, str]]:
    """Return the text and the look of each hint that a tool gives.

    Args:
        annotations: Those of the tool, which may be anything.
    """
    notes = annotations if isinstance(annotations, dict) else {}
    return [(text, look) for name, text, look in _HINTS if notes.get(name) is True]
