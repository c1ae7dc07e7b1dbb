"""The revisions of MCP, their two eras, and which methods exist in which.

*Legacy* revisions open with an ``initialize`` handshake; *modern* ones carry their version on every request.
"""

from typing import Final

__all__ = [
    "ALL",
    "LATEST_LEGACY",
    "LATEST_MODERN",
    "LEGACY",
    "LISTS",
    "MIRRORED",
    "MODERN",
    "MODERN_METHODS",
    "NAME_OF",
    "TASKS_OF_2025",
    "TASK_METHODS",
    "TASK_RESULT",
    "negotiate",
]

LEGACY: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
MODERN: Final = ("2026-07-28",)
ALL: Final = MODERN + LEGACY
LATEST_LEGACY: Final = LEGACY[0]
LATEST_MODERN: Final = MODERN[0]
BATCHES: Final = "2025-03-26"
"""The only revision that knows JSON-RPC batches (T-51)."""

LISTS: Final = {
    "tools/list": "tools",
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}
"""The list methods and the member that holds their items."""

NAME_OF: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The methods that are about one named thing and the parameter that names it."""

TASK_METHODS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
"""What the tasks extension adds (SEP-2663)."""

TASK_RESULT: Final = "tasks/result"
TASKS_OF_2025: Final = frozenset({"tasks/get", TASK_RESULT, "tasks/cancel"})
"""The methods of the tasks of 2025-11-25, and of no other revision. ``tasks/list`` is optional, and not served."""

MIRRORED: Final = {**NAME_OF, **dict.fromkeys(TASK_METHODS, "taskId")}
"""The parameters that modern clients mirror in ``Mcp-Name`` (T-17)."""

MODERN_METHODS: Final = frozenset(
    {"server/discover", "subscriptions/listen", "completion/complete", *LISTS, *MIRRORED},
)
"""What this gateway serves to modern clients."""


def negotiate(requested: object) -> str:
    """Return the revision for a legacy session (V-03): the requested one, or else the latest that has a handshake.

    Args:
        requested: ``protocolVersion`` of the ``initialize`` request, as sent.
    """
    return requested if isinstance(requested, str) and requested in LEGACY else LATEST_LEGACY
