"""Grants at servers that ask for OAuth: whether there are any, and forgetting them.

People give them on the pages of ``admin/connect.py``. Of a grant there is who gave it for what, never a token.
"""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from msgspec import Meta, structs

from metamcp_asgi.admin.api.operation import Ask, Operation, Parameter, Reply
from metamcp_asgi.admin.api.problem import Fault, Problem
from metamcp_asgi.admin.api.scopes import ID
from metamcp_asgi.admin.api.shapes import Shape
from metamcp_asgi.config.servers import docker_internal
from metamcp_asgi.grants import rows
from metamcp_asgi.store import models
from metamcp_asgi.store.errors import NotFound, SecretsError
from metamcp_asgi.store.policy import check_change, may_change, may_see
from metamcp_asgi.store.services import servers
from metamcp_asgi.store.transaction import Reader

__all__ = ["OPERATIONS"]

_FOR: Final = Parameter(
    "for",
    Annotated[str, Meta(pattern=f"^(me|all|{ID})$")],
    "Whose: `me`, with which only my own calls are made; for who may change the server, also `all`, that everybody "
    "uses, or the id of a user.",
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


class UserGrant(Grant, frozen=True, kw_only=True, rename="camel"):
    """What a user agreed to, for their own calls."""

    user_id: uuid.UUID


class ServerGrants(Shape, frozen=True, kw_only=True, rename="camel"):
    """The grants at a server: the one that everybody uses, and the caller's own; null: there is none.

    ``users`` are those of all users, for who may change the server; null for others.
    """

    everybody: Grant | None
    mine: Grant | None
    users: Sequence[UserGrant] | None


class OwnGrant(Grant, frozen=True, kw_only=True, rename="camel"):
    """What the caller agreed to at a server, for their own calls; ``server``: null, if they do not see it any more."""

    server_id: uuid.UUID
    server: str | None


class OwnGrants(Shape, frozen=True, kw_only=True, rename="camel"):
    """What the caller agreed to at servers."""

    items: Sequence[OwnGrant]


async def _get(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await servers.get(tx, ask.caller, ask.id)
        kept = await tx.list(models.Credential, models.Credential.server_id == row.id)
        urls = _urls(tx, row) if kept else ()
        found = {each.user_id: _grant(tx, urls, each) for each in kept}
    me = ask.caller.id
    users = [UserGrant(user_id=user, **structs.asdict(grant)) for user, grant in found.items() if user is not None]
    body = ServerGrants(
        everybody=found.get(None),
        mine=None if me is None else found.get(me),
        users=users if may_change(ask.caller, row) else None,
    )
    return Reply(body=body)


async def _own(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        kept = (
            []
            if ask.caller.id is None
            else await tx.list(models.Credential, models.Credential.user_id == ask.caller.id)
        )
        at = await tx.list(models.Server, models.Server.id.in_([each.server_id for each in kept]))
        known = {row.id: row for row in at}
        items = []
        for each in kept:
            row = known[each.server_id]
            name = row.name if may_see(ask.caller, row) else None
            items.append(OwnGrant(server_id=row.id, server=name, **structs.asdict(_grant(tx, _urls(tx, row), each))))
    return Reply(body=OwnGrants(items=sorted(items, key=lambda item: (item.server or "", item.server_id))))


async def _forget(ask: Ask) -> Reply:
    whose = ask.query[_FOR.name]
    if whose == "me" and ask.caller.id is None:
        reason = "must be `all`, or the id of a user: the operator at the machine has no grants of their own"
        raise Problem(422, f"for: {reason}.", [Fault(reason, parameter=_FOR.name)])
    user = None if whose == "all" else ask.caller.id if whose == "me" else uuid.UUID(whose)
    async with ask.store.write(ask.caller) as tx:
        if user is None or user != ask.caller.id:
            check_change(ask.caller, await servers.get(tx, ask.caller, ask.id))
        # One's own is forgotten also at a server that one does not see any more.
        if not await rows.forget(tx, ask.id, user):
            raise NotFound("grant", f"for {whose} at this server")
    return Reply()


def _urls(tx: Reader, row: models.Server) -> Sequence[str]:
    """Return the URLs at which tokens for a server are of use; none, while its own cannot be opened."""
    try:
        url = tx.secrets(row).url or row.url
    except SecretsError:
        return ()
    return url, docker_internal(url)


def _grant(tx: Reader, urls: Sequence[str], credential: models.Credential) -> Grant:
    try:
        kept = rows.opened(tx.credential(credential))
    except SecretsError:
        # It is as good as none, and can still be forgotten.
        return Grant(connected=False)
    tokens = kept.tokens
    expires = tokens.expires if tokens is not None else None
    return Grant(
        connected=tokens is not None and kept.url in urls,
        issuer=kept.client.issuer if kept.client is not None else None,
        scopes=((tokens.scope if tokens is not None else None) or kept.scope or "").split(),
        expires_at=None if expires is None else datetime.fromtimestamp(expires, UTC),
    )


_PATH: Final = "/servers/{id:uuid}/grant"

OPERATIONS = (
    Operation(
        method="GET",
        path="/me/grants",
        name="listServerGrants",
        summary="List the servers that the caller has connected for their own calls.",
        run=_own,
        gives=OwnGrants,
    ),
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
