"""Grants at servers that ask for OAuth: whether there are any, and forgetting them.

People give them on the pages of ``admin/connect.py``. Of a grant there is who gave it for what, never a token.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from metamcp_asgi.admin.api.operation import Ask, Operation, Parameter, Reply
from metamcp_asgi.admin.api.problem import Fault, Problem
from metamcp_asgi.admin.api.shapes import Shape
from metamcp_asgi.grants import rows
from metamcp_asgi.store import models
from metamcp_asgi.store.errors import NotFound, SecretsError
from metamcp_asgi.store.policy import check_change
from metamcp_asgi.store.services import servers
from metamcp_asgi.store.transaction import Reader

__all__ = ["OPERATIONS"]

_FOR: Final = Parameter(
    "for",
    Literal["me", "all"],
    "Whose: `me`, with which only my own calls are made, or `all`, that everybody uses; for who may change the server.",
    "me",
)


class Grant(Shape, frozen=True, kw_only=True, rename="camel"):
    """What somebody agreed to.

    Not ``connected``: it was taken back, or its time is over, or the server has another URL by now. ``expiresAt`` is
    when the present token ends, which is renewed where that is possible.
    """

    connected: bool
    issuer: str | None = None
    scopes: Sequence[str] = ()
    expires_at: datetime | None = None


class ServerGrants(Shape, frozen=True, kw_only=True, rename="camel"):
    """The grants at a server: the one that everybody uses, and the caller's own; null: there is none."""

    everybody: Grant | None
    mine: Grant | None


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await servers.get(tx, ask.caller, ask.id)
        everybody = await _grant(tx, row, None)
        mine = None if ask.caller.id is None else await _grant(tx, row, ask.caller.id)
    return Reply(body=ServerGrants(everybody=everybody, mine=mine))


async def _forget(ask: Ask) -> Reply:
    own = ask.query[_FOR.name] == "me"
    if own and ask.caller.id is None:
        reason = "must be `all`: the operator at the machine has no grants of their own"
        raise Problem(422, f"for: {reason}.", [Fault(reason, parameter=_FOR.name)])
    async with ask.store.write(ask.caller) as tx:
        row = await servers.get(tx, ask.caller, ask.id)
        if not own:
            check_change(ask.caller, row)
        if not await rows.forget(tx, row.id, ask.caller.id if own else None):
            raise NotFound("grant", f"of {'yours' if own else 'everybody'} at {row.name}")
    return Reply()


async def _grant(tx: Reader, row: models.Server, user: uuid.UUID | None) -> Grant | None:
    if await tx.find(models.Credential, server_id=row.id, user_id=user) is None:
        return None
    try:
        kept = await rows.read(tx, row.id, user)
    except SecretsError:
        # It is as good as none, and can still be forgotten.
        return Grant(connected=False)
    tokens = kept.tokens
    expires = tokens.expires if tokens is not None else None
    return Grant(
        connected=tokens is not None and kept.url == row.url,
        issuer=kept.client.issuer if kept.client is not None else None,
        scopes=((tokens.scope if tokens is not None else None) or kept.scope or "").split(),
        expires_at=None if expires is None else datetime.fromtimestamp(expires, UTC),
    )


_PATH: Final = "/servers/{id:uuid}/grant"

OPERATIONS = (
    Operation(
        method="GET",
        path=_PATH,
        name="getServerGrant",
        summary="Tell whether people have connected a server that asks for OAuth.",
        run=_get,
        gives=ServerGrants,
    ),
    Operation(
        method="DELETE",
        path=_PATH,
        name="forgetServerGrant",
        summary="Forget what somebody agreed to, so that the server has to be connected again.",
        run=_forget,
        status=204,
        query=(_FOR,),
    ),
)
