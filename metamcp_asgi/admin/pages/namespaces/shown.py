"""What several pages of namespaces show alike: what was done, who may change what, and a tool with its badges."""

import hashlib
import json
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from starlette.requests import Request
from starlette.types import Scope

from metamcp_asgi.admin.api.tool_shapes import NamespaceTool
from metamcp_asgi.admin.pages.hints import hints_of
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.i18n import N_, translations
from metamcp_asgi.pages.visit import visit_of

__all__ = [
    "NOTICES",
    "ONE",
    "PATH",
    "PREFIXES",
    "ShownTool",
    "by_htmx",
    "gettext",
    "identity",
    "json_fault",
]

PATH: Final = "/namespaces"
ONE: Final = f"{PATH}/{{id:uuid}}"
NOTICES: Final = {
    "created": N_("The namespace was made. Now add servers to it."),
    "saved": N_("The namespace was saved."),
    "deleted": N_("The namespace was deleted."),
    "added": N_("The servers were added."),
    "removed": N_("The server was removed. What is set of its tools is kept for its return."),
    "moved": N_("The server was moved."),
    "on": N_("The server was switched on."),
    "off": N_("The server was switched off."),
    "refreshed": N_("The tools were read again."),
    "tool-on": N_("The tool was switched on."),
    "tool-off": N_("The tool was switched off."),
    "switched": N_("The tools were switched."),
    "tool-saved": N_("The tool was saved."),
    "tool-reset": N_("The tool is as its server has it again."),
}
"""What was done, by what the address says."""
PREFIXES: Final = {
    "always": N_("Always: server__tool"),
    "on-collision": N_("Only where two tools have one name"),
    "never": N_("Never"),
}
"""When a published name has its server before it."""


class ShownTool(Struct, frozen=True):
    """A tool as a list shows it.

    ``place`` names it in the page; ``title``, ``description`` and ``badges`` are what clients are told; a badge has a
    text and a look.
    """

    tool: NamespaceTool
    place: str
    title: str
    description: str
    badges: list[tuple[str, str]]

    @classmethod
    def of(cls, tool: NamespaceTool) -> "ShownTool":
        """Return a tool as a list shows it."""
        own = tool.own
        notes = own.annotations if own is not None and isinstance(own.annotations, dict) else {}
        badges = hints_of({**notes, **(tool.annotations or {})})
        if any(value is not None for value in (tool.name, tool.title, tool.description, tool.annotations)):
            badges.insert(0, (N_("overridden"), "changed"))
        if not tool.offered:
            badges.insert(0, (N_("gone"), "bad"))
        title = tool.title or (own.title if own is not None else None)
        description = tool.description or (own.description if own is not None else None)
        place = hashlib.sha256(f"{tool.server_id}/{tool.tool}".encode("utf-8", "replace")).hexdigest()[:16]
        return cls(tool, place, title or "", description or "", badges)


def by_htmx(request: Request) -> bool:
    """Tell whether a request is for a part of the page that the browser shows."""
    return request.headers.get("hx-request") == "true"


def identity(text: str) -> UUID:
    """Return the id in a form.

    Raises:
        Fault: It is none (400).
    """
    try:
        return UUID(text)
    except ValueError:
        raise Fault(400, N_("This form cannot be read.")) from None


def json_fault(scope: Scope, error: json.JSONDecodeError) -> str:
    """Return what is told of a text that is not JSON."""
    text = N_("This is not JSON: %(reason)s (line %(line)d, column %(column)d).")
    return gettext(scope, text, reason=error.msg, line=error.lineno, column=error.colno)


def gettext(scope: Scope, text: str, **values: Any) -> str:
    """Return a text in the visitor's language, with values in it."""
    return translations(visit_of(scope).language).gettext(text) % values
