"""Whose configuration an operation is about, and whether the caller may make it so.

The rules are the policy's; here they meet the changes of a plan.
"""

import uuid
from collections.abc import Sequence
from typing import Annotated, Final

from msgspec import Meta
from sqlalchemy import select

from metamcp_asgi.admin.api.operation import Ask, Parameter
from metamcp_asgi.admin.api.problem import Fault, Problem, pointer_to
from metamcp_asgi.config.plan import Change
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.store.models import ApiKey, Endpoint, Revision, User
from metamcp_asgi.store.policy import LAUNCHING, Acting, check_admin, check_key_scope, check_launch, key_owner
from metamcp_asgi.store.scope import Scope, read_scope
from metamcp_asgi.store.services.settings import rules
from metamcp_asgi.store.transaction import Reader

__all__ = ["ID", "OWNER", "check_changes", "revision_of", "scope_of"]

ID: Final = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
"""An id in a query parameter."""
OWNER: Final = Parameter(
    "owner",
    Annotated[str, Meta(pattern=f"^(public|me|{ID})$")],
    "Whose things: `public`, `me`, or the id of a user. Admins mean the public ones unless they say otherwise; "
    "members, who may mean their own only, their own.",
)


async def scope_of(tx: Reader, ask: Ask) -> Scope:
    """Return the scope that a request is about, as it is now.

    Raises:
        Forbidden: It is not the caller's own, who is no admin.
        Problem: There is no such user (422).
    """
    wanted = ask.query[OWNER.name] or ("public" if ask.caller.admin else "me")
    if wanted == "public":
        owner = None
    elif wanted == "me":
        owner = ask.caller.id
    else:
        owner = uuid.UUID(wanted)
    if owner is None or owner != ask.caller.id:
        check_admin(ask.caller, "what is public or somebody else's as a whole; leave `owner` out")
    if owner is not None and await tx.find(User, id=owner) is None:
        reason = "names a user that does not exist"
        raise Problem(422, f"owner: {reason}.", [Fault(reason, parameter=OWNER.name)])
    return await read_scope(tx, owner)


async def revision_of(tx: Reader) -> Revision:
    """Return the store's revision; after a write, it has the number that this made."""
    return (await tx.session.scalars(select(Revision))).one()


async def check_changes(tx: Reader, caller: Acting, scope: Scope, wanted: Snapshot, changes: Sequence[Change]) -> None:
    """Let pass who may make these changes, if nothing outside of the scope is in their way.

    Args:
        tx: The transaction.
        caller: Who makes them.
        scope: What there is; the caller may change it in general.
        wanted: What there shall be.
        changes: The difference.

    Raises:
        Forbidden: They would start a process, or make a key, and may not.
        Problem: A name or a key is taken by somebody else (409).
    """
    allowed = await rules(tx)
    for change in changes:
        if change.action not in ("add", "change"):
            continue
        if change.kind == "server":
            fields = {field.field.partition(".")[0] for field in change.fields}
            if wanted.servers[change.name].type == "stdio" and not fields.isdisjoint(LAUNCHING):
                check_launch(caller, allowed)
        elif change.kind == "endpoint":
            other = await tx.find(Endpoint, name=change.name)
            if other is not None and other.owner_id != scope.owner_id:
                raise _taken("another endpoint has the same name", "endpoints", change.name)
        elif change.kind == "key":
            await _check_key(tx, caller, scope, wanted, change.name)


async def _check_key(tx: Reader, caller: Acting, scope: Scope, wanted: Snapshot, name: str) -> None:
    key_owner(caller, scope.owner_id)
    row = scope.keys.get(name)
    if row is not None and row.admin:
        # Another text, or an end to being switched off, makes it one anew.
        check_key_scope(caller, scope.owner_id)
    for index, key in enumerate(wanted.keys.values()):
        if key.principal.name == name:
            other = await tx.find(ApiKey, digest=key.digest)
            # A key of the same scope that gets another name is removed first, or is in the way.
            if other is not None and other.owner_id != scope.owner_id:
                raise _taken("another key is the same", "apiKeys", index)


def _taken(reason: str, *place: object) -> Problem:
    pointer = pointer_to(*place)
    return Problem(409, f"{pointer}: {reason}.", [Fault(reason, pointer=pointer)])
