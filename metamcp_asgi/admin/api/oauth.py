"""Clients of our authorization server, and what people granted to them."""

import uuid

from metamcp_asgi.admin.api.oauth_shapes import (
    Consent,
    ConsentPage,
    OAuthClient,
    OAuthClientMade,
    OAuthClientPage,
)
from metamcp_asgi.admin.api.operation import PAGED, Ask, Operation, Parameter, Reply, page_of, searching
from metamcp_asgi.store.services import oauth, users
from metamcp_asgi.store.services.inputs import NewOAuthClient
from metamcp_asgi.store.transaction import place_of

__all__ = ["OPERATIONS"]


async def _clients(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        after = ask.after(str, uuid.UUID)
        rows = await oauth.clients(tx, ask.caller, search=ask.search, after=after, limit=ask.limit + 1)
        rows, following = page_of(rows, ask.limit, place_of)
        emails = await users.emails(tx, {row.owner_id for row in rows})
    items = [OAuthClient.of(row, emails) for row in rows]
    return Reply(body=OAuthClientPage(items=items, next=following), next=following)


async def _create(ask: Ask, given: NewOAuthClient) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row, secret = await oauth.create_client(tx, ask.caller, given)
        emails = await users.emails(tx, {row.owner_id})
    made = OAuthClientMade.of(row, emails, client_secret=secret)
    return Reply(body=made, version=row.version, location=f"/clients/{row.id}")


async def _delete(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        await oauth.delete_client(tx, ask.caller, ask.id, version=ask.version)
    return Reply()


async def _grants(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        after = ask.after(str, uuid.UUID)
        rows = await oauth.grants(tx, ask.caller, user=ask.query["user"], after=after, limit=ask.limit + 1)
        rows, following = page_of(rows, ask.limit, place_of)
        emails = await users.emails(tx, {row.user_id for row in rows})
    items = [Consent.of(row, emails) for row in rows]
    return Reply(body=ConsentPage(items=items, next=following), next=following)


async def _revoke(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        await oauth.revoke_grant(tx, ask.caller, ask.id, version=ask.version)
    return Reply()


OPERATIONS = (
    Operation(
        method="GET",
        path="/clients",
        name="listClients",
        summary="List OAuth clients.",
        run=_clients,
        gives=OAuthClientPage,
        query=(*PAGED, searching("name or client id")),
    ),
    Operation(
        method="POST",
        path="/clients",
        name="createClient",
        summary="Make an OAuth client that acts for its owner by itself; the answer is the only one with its secret.",
        run=_create,
        takes=NewOAuthClient,
        gives=OAuthClientMade,
        status=201,
    ),
    Operation(
        method="DELETE",
        path="/clients/{id:uuid}",
        name="deleteClient",
        summary="Remove an OAuth client, and end what was granted to it.",
        run=_delete,
        status=204,
        conditional=True,
    ),
    Operation(
        method="GET",
        path="/consents",
        name="listConsents",
        summary="List what people granted to OAuth clients.",
        run=_grants,
        gives=ConsentPage,
        query=(*PAGED, Parameter("user", uuid.UUID, "Only what this user granted.")),
    ),
    Operation(
        method="DELETE",
        path="/consents/{id:uuid}",
        name="deleteConsent",
        summary="Revoke what was granted to an OAuth client, and every token of it.",
        run=_revoke,
        status=204,
        conditional=True,
    ),
)
