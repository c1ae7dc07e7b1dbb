"""Rows of every kind, for tests of the whole store."""

import uuid
from datetime import UTC, datetime

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.store.models import (
    ApiKey,
    Credential,
    Endpoint,
    Identity,
    Membership,
    Namespace,
    OAuthClient,
    Server,
    Setting,
    ToolSetting,
    User,
    WebSession,
)
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.secrets import ServerSecrets

SECRETS = ServerSecrets(
    env={"API_TOKEN": "clear-env-7f3a"}, headers={"X-Team": "clear-header-7f3a"}, bearer_token="clear-bearer-7f3a"
)
TOKENS = {"access_token": "clear-access-7f3a", "refresh_token": "clear-refresh-7f3a"}


async def one_of_each(store: Store) -> dict[str, uuid.UUID]:
    """Adds one row of every kind, in one transaction; returns their ids by kind."""
    async with store.write(SYSTEM) as tx:
        user = await tx.add(User(email="ada@example.com", name="Ada", password_hash="$argon2id$hash", role="admin"))
        server = await tx.add(Server(name="web", type="streamable_http", url="http://127.0.0.1:1/mcp"), secrets=SECRETS)
        namespace = await tx.add(
            Namespace(name="tools", middlewares=[{"name": "limit", "options": {"bytes": 1000}}], description="Tools")
        )
        member = await tx.add(Membership(namespace_id=namespace.id, server_id=server.id))
        tool = await tx.add(
            ToolSetting(
                namespace_id=namespace.id,
                server_id=server.id,
                tool="fetch",
                name="get",
                annotations={"readOnlyHint": True},
            )
        )
        endpoint = await tx.add(Endpoint(name="tools", namespace_id=namespace.id, max_rate=5, max_rate_seconds=60.0))
        key = await tx.add(
            ApiKey(
                name="laptop",
                digest=digest_of("sk_mt_laptop"),
                prefix="sk_mt_lapt",
                owner_id=user.id,
                endpoint_ids=[str(endpoint.id)],
                expires_at=datetime(2100, 1, 1, tzinfo=UTC),
                previous_digest=digest_of("sk_mt_before"),
                previous_until=datetime(2100, 1, 1, tzinfo=UTC),
            )
        )
        await tx.add(Setting(key="registration", value={"open": False}))
        credential = Credential(server_id=server.id, user_id=user.id)
        tx.set_credential(credential, TOKENS)
        await tx.add(credential)
        client = await tx.add(OAuthClient(client_id="c1", redirect_uris=["http://localhost/cb"]))
        await tx.add(Identity(issuer="https://id.example.com", subject="ada", user_id=user.id))
        await tx.add(
            WebSession(
                digest=digest_of("a cookie"),
                user_id=user.id,
                method="oidc",
                expires_at=datetime(2100, 1, 1, tzinfo=UTC),
            )
        )
    rows = (user, server, namespace, member, tool, endpoint, key, credential, client)
    return {type(row).__name__: row.id for row in rows}
