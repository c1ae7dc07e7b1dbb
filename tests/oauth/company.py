"""A gateway whose people sign in at an OpenID provider that a test controls, and a client that the provider knows."""

import contextlib
import os
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2

from metamcp_asgi.store.models import Identity, User
from metamcp_asgi.store.repository import SYSTEM
from tests.oauth.home import ADA, JSON, Home, home
from tests.oauth.issuer import Issuer
from tests.serving import serving

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TYPED = {"typ": "oauth-id-jag+jwt"}


class Company:
    """A gateway whose people sign in at a provider, and a client that the provider knows; Ada is ``a-1`` there."""

    def __init__(self, gateway: Home, issuer: Issuer, client: JSON) -> None:
        self.home, self.issuer, self.client = gateway, issuer, client

    def assertion(self, kid: str | None = None, headers: JSON | None = None, **claims: Any) -> str:
        said = {
            "sub": "a-1",
            "client_id": self.client["client_id"],
            "resource": self.home.url_of("tools"),
            "scope": "admin",
            "iat": int(time.time()),
            "jti": secrets.token_urlsafe(16),
        }
        return self.issuer.token(claims.pop("aud", self.home.origin), kid, headers or TYPED, **{**said, **claims})

    async def show(
        self, assertion: str, client: JSON | None = None, http: httpx2.AsyncClient | None = None, **more: str
    ) -> httpx2.Response:
        client = client or self.client
        form = {"grant_type": JWT_BEARER, "assertion": assertion, "client_id": client["client_id"], **more}
        if "client_secret" in client:
            form["client_secret"] = client["client_secret"]
        return await (http or self.home.http).post("/oauth/token", data=form)

    async def link(self, email: str, subject: str) -> uuid.UUID:
        async with (await self.home.store()).write(SYSTEM) as tx:
            user = await tx.find(User, email=email)
            assert user is not None
            await tx.add(Identity(issuer=self.issuer.url, subject=subject, user_id=user.id))
            return user.id


@contextlib.asynccontextmanager
async def company_in(folder: Path) -> AsyncIterator[Company]:
    """Runs both; Ada has signed in at the provider before. Clients may have their keys on this machine."""
    issuer = Issuer()
    async with serving(issuer) as provider:
        issuer.url = provider.origin
        variables = {
            "OIDC_CLIENT_ID": "metamcp",
            "OIDC_DISCOVERY_URL": f"{issuer.url}/.well-known/openid-configuration",
        }
        with patch.dict(os.environ, variables):
            async with home(f"sqlite:///{folder}/metamcp.db", outward_allowed=("127.0.0.1",)) as gateway:
                client = await gateway.register(token_endpoint_auth_method="client_secret_post")
                found = Company(gateway, issuer, client)
                await found.link(ADA, "a-1")
                yield found


def stranger(company: Company, address: str) -> httpx2.AsyncClient:
    """Returns a client at another address of this machine: each may be wrong 20 times a minute only."""
    transport = httpx2.AsyncHTTPTransport(local_address=address)
    return httpx2.AsyncClient(base_url=company.home.origin, transport=transport, timeout=20)
