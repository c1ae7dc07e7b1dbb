"""The gateway as a client, with a key, of another gateway that is an authorization server (RFC 7523)."""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from metamcp_asgi import Gateway
from metamcp_asgi.grants.connect import Connecting
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.models import Server, User
from metamcp_asgi.store.policy import COMMAND_LINE, Acting
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import oauth, servers
from metamcp_asgi.store.services.inputs import NewServer, ServerChanges
from metamcp_asgi.upstream.granted import AuthorizationNeeded
from tests.databases import SECRET, opened
from tests.oauth.home import Home, home, sent_back
from tests.serving import serving, until

KEY = ec.generate_private_key(ec.SECP256R1())
JWKS = {"keys": [{**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key())), "kid": "one"}]}
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
JWK = json.dumps({**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY)), "kid": "one"})
KEY_ITSELF = json.loads(JWK)["d"].encode()


@contextlib.asynccontextmanager
async def client_of(folder: Path, other: Home, **given: Any) -> AsyncIterator[tuple[Gateway, Store, Server]]:
    """Runs a gateway one of whose servers is an endpoint of the other."""
    url = f"sqlite:///{folder}/client.db"
    store = await opened(url)
    async with store.write(COMMAND_LINE) as tx:
        new = NewServer(name="far", type="streamable_http", url=other.url_of("tools"), oauth=given)
        server = await servers.create(tx, COMMAND_LINE, new)
    gateway = Gateway.from_store(url, Settings(secret_keys=(SECRET,), outward_allowed=("127.0.0.1",)))
    async with serving(gateway, lifespan="on"):
        await until(lambda: "far" in gateway.snapshot.servers)
        yield gateway, store, server
        gateway.close_streams()
    await store.aclose()


def databases_of(folder: Path) -> list[Path]:
    found = list(folder.glob("client.db*"))
    assert found
    return found


def keyless(gateway: Gateway) -> bool:
    grant = gateway.snapshot.servers["far"].grant
    return grant is not None and grant.private_key is None


async def bearer(gateway: Gateway, other: Home) -> str:
    """Returns the token that the gateway sends to the server, which takes it."""
    grant = gateway.grants.of(gateway.snapshot.servers["far"])
    assert grant is not None
    line = await grant.line()
    if not line:
        await grant.refused(line, 401, "")
        line = await grant.line()
    token = line.decode().strip().removeprefix("Authorization: Bearer ")
    assert (await other.call("tools", token)).status_code == 200
    return token


async def test_it_asks_in_its_own_name_with_a_key(tmp_path: Path) -> None:
    async with home(f"sqlite:///{tmp_path}/server.db") as other:
        async with (await other.store()).write(COMMAND_LINE) as tx:
            new = oauth.NewOAuthClient(name="gateway", owner_id=uuid.UUID(other.ids["ada"]), jwks=JWKS)
            row, _ = await oauth.create_client(tx, COMMAND_LINE, new)
        asked = {"flow": "client_credentials", "clientId": row.client_id, "privateKey": JWK}
        async with client_of(tmp_path, other, **asked) as (gateway, store, server):
            assert await bearer(gateway, other)
            async with store.read() as tx:
                kept = await servers.get(tx, COMMAND_LINE, server.id)
                assert kept.oauth == {"flow": "client_credentials", "grant": "server", "clientId": row.client_id}
                assert tx.secrets(kept).private_key == JWK
            assert not [file.name for file in databases_of(tmp_path) if KEY_ITSELF in file.read_bytes()]


async def test_a_person_agrees_and_it_redeems_and_renews_with_a_key(tmp_path: Path) -> None:
    async with home(f"sqlite:///{tmp_path}/server.db") as other:
        redirect = "http://127.0.0.1:12008/fe-oauth/callback"
        made = await other.register(redirect_uris=[redirect], token_endpoint_auth_method="private_key_jwt", jwks=JWKS)
        asked = {"clientId": made["client_id"], "privateKey": PEM, "keyId": "one", "algorithm": "ES256"}
        async with client_of(tmp_path, other, **asked) as (gateway, store, server):
            async with store.write(COMMAND_LINE) as tx:
                user = await tx.add(User(email="ada@example.com", role="admin"))
            person = Acting(user.id, user.email, "admin")

            async def at() -> Store:
                return store

            connecting = Connecting(at, gateway.grants, gateway.bus, KeyRing((SECRET,)))
            departure = await connecting.depart(person, server.id)
            left = urlsplit(departure.url)
            assert left.path == "/oauth/authorize"
            query = {name: values[0] for name, values in parse_qs(left.query).items()}
            assert len(query["state"]) < 1500
            ada = await other.signed_in()
            back = sent_back(await other.decide(ada, await other.consent(ada, query)))
            await connecting.arrive(person, departure.browser, back)
            first = await bearer(gateway, other)
            grant = gateway.grants.of(gateway.snapshot.servers["far"])
            assert grant is not None
            await grant.refused(await grant.line(), 401, "")
            assert await bearer(gateway, other) != first
            changes = ServerChanges(oauth={"privateKey": None, "keyId": None, "algorithm": None})
            async with store.write(COMMAND_LINE) as tx:
                await servers.update(tx, COMMAND_LINE, server.id, changes)
            await until(lambda: keyless(gateway))
            grant = gateway.grants.of(gateway.snapshot.servers["far"])
            assert grant is not None
            with pytest.raises(AuthorizationNeeded, match="configured otherwise"):
                await grant.refused(await grant.line(), 401, "")
