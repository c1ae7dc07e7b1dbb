"""The settings of the whole gateway, and the audit, which is only read."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Parameter, Reply, page_of
from metamcp_asgi.admin.api.shapes import AuditEntry, AuditPage
from metamcp_asgi.store import models
from metamcp_asgi.store.policy import check_admin
from metamcp_asgi.store.services import settings
from metamcp_asgi.store.transaction import place_of

__all__ = ["OPERATIONS"]

_MAX_ID = 2**63 - 1


async def _settings(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        known = await settings.all_(tx, ask.caller)
    return Reply(body=known, version=_version(known))


async def _change_settings(ask: Ask, given: Mapping[str, Any]) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        ask.check(_version(await settings.all_(tx, ask.caller)))
        known = await settings.change(tx, ask.caller, dict(given))
    return Reply(body=known, version=_version(known))


async def _audit(ask: Ask) -> Reply:
    check_admin(ask.caller, "the audit")
    after = ask.after(Annotated[int, Meta(ge=0, le=_MAX_ID)])
    columns = {"kind": models.AuditEntry.object_kind, "object": models.AuditEntry.object_id}
    where = [column == ask.query[name] for name, column in columns.items() if ask.query[name] is not None]
    async with ask.store.read() as tx:
        rows = await tx.list(models.AuditEntry, *where, after=after, limit=ask.limit + 1, descending=True)
    rows, following = page_of(rows, ask.limit, place_of)
    return Reply(body=AuditPage(items=[AuditEntry.of(row) for row in rows], next=following), next=following)


def _version(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(values, order="sorted")).hexdigest()[:16]


_PLAIN = Annotated[str, Meta(max_length=255, pattern=r"^[\w@.:-]*$")]

OPERATIONS = (
    Operation(
        method="GET",
        path="/settings",
        name="getSettings",
        summary="Read the settings.",
        run=_settings,
        gives=dict[str, Any],
    ),
    Operation(
        method="PATCH",
        path="/settings",
        name="updateSettings",
        run=_change_settings,
        takes=dict[str, Any],
        gives=dict[str, Any],
        conditional=True,
        summary="Change settings; those left out stay.",
    ),
    Operation(
        method="GET",
        path="/audit",
        name="listAudit",
        summary="List what was changed, the latest first.",
        run=_audit,
        gives=AuditPage,
        query=(
            *PAGED,
            Parameter("kind", _PLAIN, "Only what happened to this kind of object: `server`."),
            Parameter("object", _PLAIN, "Only what happened to the object of this id."),
        ),
    ),
)
