"""Who changed what and when, for admins: the entries of the audit in words.

Knows how kinds, actions, fields and values are called, and which columns are of no use to people; those are left out.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from metamcp_asgi.admin.api.shapes import AuditEntry
from metamcp_asgi.admin.pages.asking import asked_of
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.admin.pages.servers.shown import emails
from metamcp_asgi.admin.pages.settings import SETTINGS
from metamcp_asgi.pages.i18n import N_, translations
from metamcp_asgi.pages.render import render
from metamcp_asgi.pages.visit import visit_of

__all__ = ["PATHS", "routes"]

PATHS: Final = ("/audit",)
KINDS: Final = {
    "server": N_("Server"),
    "namespace": N_("Namespace"),
    "membership": N_("Server of a namespace"),
    "tool_setting": N_("Tool of a namespace"),
    "endpoint": N_("Endpoint"),
    "api_key": N_("API key"),
    "user": N_("User"),
    "setting": N_("Setting"),
    "credential": N_("Authorization at a server"),
    "oauth_client": N_("OAuth client"),
    "oauth_grant": N_("What was granted to a client"),
}
"""The kinds of things that are changed, as ``store.audit.KINDS`` names them."""
_ACTIONS: Final = {
    "create": N_("added"),
    "update": N_("changed"),
    "delete": N_("deleted"),
    "link": N_("linked with single sign-on"),
    "sign-in": N_("signed in"),
    "sign-out": N_("signed out"),
    "show-secrets": N_("secrets shown"),
    "reset": N_("reset"),
    "refresh": N_("read again"),
}
_FIELDS: Final = {
    "owner_id": N_("Whose"),
    "user_id": N_("User"),
    "name": N_("Name"),
    "title": N_("Title"),
    "description": N_("Description"),
    "type": N_("Transport"),
    "command": N_("Command"),
    "args": N_("Arguments"),
    "cwd": N_("Folder"),
    "url": N_("URL"),
    "era": N_("Era"),
    "sharing": N_("Sharing"),
    "timeout": N_("Timeout"),
    "disabled": N_("Switched off"),
    "sandbox": N_("Sandbox"),
    "secrets": N_("Secrets"),
    "oauth": "OAuth",
    "oauth_options": N_("OAuth settings"),
    "server_id": N_("Server"),
    "namespace_id": N_("Namespace"),
    "position": N_("Place"),
    "active": N_("Takes part"),
    "enabled": N_("On"),
    "tool": N_("Tool"),
    "annotations": N_("Annotations"),
    "prefix": N_("Prefix"),
    "middlewares": N_("Middlewares"),
    "api_key_auth": N_("Wants an API key"),
    "query_param_auth": N_("Key in the URL"),
    "max_rate": N_("Requests at most"),
    "max_rate_seconds": N_("in seconds"),
    "client_max_rate": N_("Requests at most, of each client"),
    "client_max_rate_seconds": N_("in seconds, of each client"),
    "client_max_rate_strategy": N_("Clients told apart by"),
    "client_max_rate_header": N_("Header"),
    "digest": N_("Key"),
    "admin": N_("Manages this gateway"),
    "endpoint_ids": N_("Endpoints"),
    "expires_at": N_("Expires"),
    "email": N_("Email"),
    "role": N_("Role"),
    "password_hash": N_("Password"),
    "value": N_("Value"),
    "client_id": N_("Client id"),
    "secret_digest": N_("Secret"),
    "redirect_uris": N_("Redirects to"),
    "redirect_uri": N_("Redirects to"),
    "scope": N_("Scopes"),
    "audience": N_("For"),
    "used_at": N_("Last used"),
    "last_used_at": N_("Last used"),
    "previous_until": N_("The key before is good until"),
    "revoked_at": N_("Revoked"),
    "method": N_("How"),
    "sessions": N_("Sessions"),
    "with": N_("With it"),
}
_VALUES: Final = {
    "role": {"admin": N_("Admin"), "member": N_("Member")},
    "method": {"password": N_("With a password"), "oidc": N_("By single sign-on")},
    "era": {"auto": N_("Automatic")},
    "sharing": {"auto": N_("Automatic")},
}
_INTERNAL: Final = frozenset(
    {
        "key",
        "attributes",
        "sealed",
        "previous_digest",
        "code_digest",
        "code_challenge",
        "generation",
        "keyed",
        "redeemed_at",
        "rotated_at",
    }
)
"""Columns that say nothing to people; the management API tells them all."""
_SECRET: Final = "(secret)"
_NOTHING: Final[tuple[Any, ...]] = (None, "", [], {})


class _Line(Struct, frozen=True):
    """One field that differs; a value of ``None`` is not there."""

    field: str
    before: str | None
    after: str | None


def routes(desk: Desk) -> list[BaseRoute]:
    """Return the routes of this page."""

    async def audit(request: Request) -> Response:
        asked = asked_of(request, "kind", "object", "after")
        page = (await desk.ask(request.scope, "listAudit", query=asked)).body
        told = translations(visit_of(request.scope).language).gettext
        people = {str(identity): email for identity, email in (await emails(desk, request.scope)).items()}
        return render(
            request.scope,
            "admin/audit/audit.html",
            page=page,
            rows=[(entry, _lines(entry, told, people)) for entry in page.items],
            kinds=[("", told(N_("All"))), *((kind, told(name)) for kind, name in KINDS.items())],
            names={key: words for key, (words, _) in SETTINGS.items()},
            kind_names=KINDS,
            actions=_ACTIONS,
            asked=asked,
        )

    return [Route("/audit", audit)]


def _lines(entry: AuditEntry, told: Callable[[str], str], people: Mapping[str, str]) -> list[_Line]:
    """Return what differs, in words; of what was added or deleted, what there was."""
    before, after = entry.before or {}, entry.after or {}
    return [
        _Line(
            told(_FIELDS.get(name, name)),
            _value(name, before[name], told, people) if name in before else None,
            _value(name, after[name], told, people) if name in after else None,
        )
        for name in {**before, **after}
        if name not in _INTERNAL
        and (name == "owner_id" or before.get(name) not in _NOTHING or after.get(name) not in _NOTHING)
    ]


def _value(name: str, value: Any, told: Callable[[str], str], people: Mapping[str, str]) -> str:
    """Return a value as people write it."""
    if value is None and name == "owner_id":
        return told(N_("Everybody (public)"))
    if value in _NOTHING:
        return "\N{EN DASH}"
    if isinstance(value, bool):
        return told(N_("yes")) if value else told(N_("no"))
    if value == _SECRET:
        return told(N_("(secret)"))
    if isinstance(value, str):
        if name.endswith("_at"):
            return datetime.fromisoformat(value).strftime("%Y-%m-%d %H:%M")
        words = _VALUES.get(name, {}).get(value)
        return told(words) if words is not None else people.get(value, value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_value(key, inner, told, people)}" for key, inner in value.items())
    return f"{value:g}" if isinstance(value, float) else msgspec.json.encode(value).decode()
