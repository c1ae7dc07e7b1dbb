"""An MCP server that asks for OAuth, and its authorization server, both of the official SDK, in one application.

Whoever comes to the authorization page agrees at once. Tokens can be ended, refused and counted from outside.
"""

import contextlib
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from mcp.server.auth.provider import (
    AccessToken,
    AuthorizationCode,
    AuthorizationParams,
    OAuthAuthorizationServerProvider,
    RefreshToken,
    TokenError,
)
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from pydantic import AnyHttpUrl
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.serving import Served

__all__ = ["Authorizing", "authorizing"]


class Authorizing(OAuthAuthorizationServerProvider[AuthorizationCode, RefreshToken, AccessToken]):
    """The authorization server's memory. A refresh token is good once; using it again ends its whole family."""

    def __init__(self) -> None:
        self.served: Served
        self.seconds = 3600
        self.clients: dict[str, OAuthClientInformationFull] = {}
        self.codes: dict[str, AuthorizationCode] = {}
        self.refresh: dict[str, RefreshToken] = {}
        self.used: set[str] = set()
        self.access: dict[str, AccessToken] = {}
        self.seen: Counter[str] = Counter()
        self.asked: list[AuthorizationParams] = []
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        """What happens while a token is refreshed."""
        self.says: dict[str, Any] = {}
        """What its metadata say otherwise; ``None``: not at all."""
        self.posted: list[bytes] = []
        """The bodies of token requests."""

    @property
    def url(self) -> str:
        return f"{self.served.origin}/mcp"

    async def get_client(self, client_id: str) -> OAuthClientInformationFull | None:
        return self.clients.get(client_id)

    async def register_client(self, client_info: OAuthClientInformationFull) -> None:
        self.seen["registered"] += 1
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client: OAuthClientInformationFull, params: AuthorizationParams) -> str:
        self.asked.append(params)
        code = AuthorizationCode(
            code=secrets.token_urlsafe(24),
            scopes=params.scopes or [],
            expires_at=time.time() + 60,
            client_id=client.client_id,
            code_challenge=params.code_challenge,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=True,
            resource=params.resource,
        )
        self.codes[code.code] = code
        return f"{params.redirect_uri}?{urlencode({'code': code.code, 'state': params.state})}"

    async def load_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: str
    ) -> AuthorizationCode | None:
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(
        self, client: OAuthClientInformationFull, authorization_code: AuthorizationCode
    ) -> OAuthToken:
        del self.codes[authorization_code.code]
        self.seen["exchanged"] += 1
        return self._tokens(client.client_id, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client: OAuthClientInformationFull, refresh_token: str) -> RefreshToken | None:
        if refresh_token in self.used:
            self.seen["reused"] += 1
            self.refresh.clear()
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(
        self, client: OAuthClientInformationFull, refresh_token: RefreshToken, scopes: list[str]
    ) -> OAuthToken:
        if self.refresh.pop(refresh_token.token, None) is None:
            raise TokenError("invalid_grant")
        self.used.add(refresh_token.token)
        self.seen["refreshed"] += 1
        if self.meanwhile is not None:
            await self.meanwhile()
        return self._tokens(client.client_id, scopes, refresh_token.resource)

    async def load_access_token(self, token: str) -> AccessToken | None:
        found = self.access.get(token)
        return None if found is None or (found.expires_at or 0) < time.time() else found

    async def revoke_token(self, token: AccessToken | RefreshToken) -> None:
        self.access.pop(token.token, None)
        self.refresh.pop(token.token, None)

    def end_access(self) -> None:
        """Forgets all access tokens, as a server does that was restarted."""
        self.access.clear()

    def end_all(self) -> None:
        """Takes back what people have agreed to."""
        self.access.clear()
        self.refresh.clear()

    def _tokens(self, client: str, scopes: list[str], resource: str | None) -> OAuthToken:
        access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        until = int(time.time()) + self.seconds
        self.access[access] = AccessToken(
            token=access, client_id=client, scopes=scopes, expires_at=until, resource=resource
        )
        self.refresh[refresh] = RefreshToken(token=refresh, client_id=client, scopes=scopes, resource=resource)
        return OAuthToken(access_token=access, expires_in=self.seconds, scope=" ".join(scopes), refresh_token=refresh)


@contextlib.asynccontextmanager
async def authorizing() -> AsyncIterator[Authorizing]:
    """Serves one."""
    provider = Authorizing()
    # Its own address is in its metadata, so it must be known first.
    place = Served(Starlette())
    await place.start()
    await place.kill()
    provider.served = Served(Starlette(), lifespan="on")
    provider.served.port = place.port
    await provider.served.start(_application(provider))
    try:
        yield provider
    finally:
        await provider.served.stop()


def _application(provider: Authorizing) -> ASGIApp:
    server: MCPServer[Any] = MCPServer(
        "authorizing",
        auth_server_provider=provider,
        auth=AuthSettings(
            issuer_url=AnyHttpUrl(provider.served.origin),
            resource_server_url=AnyHttpUrl(provider.url),
            client_registration_options=ClientRegistrationOptions(enabled=True, valid_scopes=["use", "more"]),
            required_scopes=["use"],
            validate_token_resource=True,
        ),
        log_level="WARNING",
    )

    @server.tool()
    def echo(text: str) -> str:
        """Says it again."""
        provider.seen["echo"] += 1
        return text

    app = server.streamable_http_app()

    async def looked_at(scope: Scope, receive: Receive, send: Send) -> None:
        async def read() -> Message:
            message = await receive()
            provider.posted.append(message.get("body", b""))
            return message

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [line for line in message["headers"] if line[0] != b"content-length"]
            else:
                told = {**json.loads(message["body"]), **provider.says}
                message["body"] = json.dumps(
                    {name: value for name, value in told.items() if value is not None}
                ).encode()
            await send(message)

        path = scope.get("path", "")
        metadata = path.startswith("/.well-known/oauth-authorization-server")
        await app(scope, read if path == "/token" else receive, say if metadata else send)

    return looked_at
