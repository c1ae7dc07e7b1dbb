"""A gateway with our authorization server, people in it, and what clients and their users do, each step by itself."""

import base64
import contextlib
import hashlib
import json
import re
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2

from metamcp_asgi import Gateway
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.models import Endpoint, Membership, Namespace, Server, ToolSetting
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.repository import SYSTEM
from metamcp_asgi.store.services import users
from metamcp_asgi.store.services.inputs import NewUser
from tests.databases import SECRET, opened
from tests.gateway.running import served
from tests.places import ROOT
from tests.serving import MODERN
from tests.signin.people import ADA, MEL, House, Visitor, hashed, token_of

CALLBACK = "http://127.0.0.1:33418/callback"
JSON = dict[str, Any]


class Home(House):
    """A running gateway: endpoint ``tools`` takes our tokens, ``both`` keys, too, ``keys`` only keys.

    ``steps`` asks more for ``echo__write``, which is also called ``echo__renamed``; ``mine`` is Ada's.
    """

    http: httpx2.AsyncClient
    ids: dict[str, str]
    people: dict[str, Visitor]
    clients: dict[str, str]

    def url_of(self, endpoint: str) -> str:
        return f"{self.origin}/metamcp/{endpoint}/mcp"

    async def signed_in(self, email: str = ADA) -> Visitor:
        """Returns the browser of somebody, who signs in once: that is slow, and may not be done too often."""
        if email not in self.people:
            visitor = self.visitor()
            answer = await visitor.sign_in(email)
            assert answer.status_code == 303, answer.text
            self.people[email] = visitor
        return self.people[email]

    async def client(self, name: str = "one") -> str:
        """Returns the id of a public client, which registers once: nobody may do that too often."""
        if name not in self.clients:
            self.clients[name] = (await self.register())["client_id"]
        return self.clients[name]

    async def register(self, **more: Any) -> JSON:
        """Registers a client; a public one with a loopback redirect, unless it says otherwise."""
        body = {"client_name": "Test client", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
        answer = await self.http.post("/oauth/register", json={**body, **more})
        assert answer.status_code == 201, answer.text
        found: JSON = answer.json()
        return found

    def asking(self, client_id: str, verifier: str = "v" * 43, **more: str | None) -> JSON:
        """Returns the query of an authorization request; what is ``None`` is left out."""
        query: dict[str, str | None] = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": CALLBACK,
            "state": "st-1",
            "code_challenge": challenge_of(verifier),
            "code_challenge_method": "S256",
            "resource": self.url_of("tools"),
        }
        return {name: value for name, value in (query | more).items() if value is not None}

    async def consent(self, visitor: Visitor, query: Mapping[str, Any]) -> httpx2.Response:
        """Returns the consent page, or what comes instead."""
        return await visitor.http.get("/oauth/authorize", params=query, headers={"Sec-Fetch-Site": "none"})

    async def decide(self, visitor: Visitor, page: httpx2.Response, decision: str = "allow") -> httpx2.Response:
        form = {"request": sealed_of(page), "decision": decision}
        return await visitor.send("/oauth/authorize", form, csrf=token_of(page))

    async def code(self, visitor: Visitor, client_id: str, **more: Any) -> str:
        """Allows a client what it asks for, and returns the code."""
        page = await self.consent(visitor, self.asking(client_id, **more))
        assert page.status_code == 200, page.text
        return sent_back(await self.decide(visitor, page))["code"]

    async def token(self, client_id: str, code: str, verifier: str = "v" * 43, **more: Any) -> httpx2.Response:
        form = {"grant_type": "authorization_code", "client_id": client_id, "code": code, "code_verifier": verifier}
        return await self.http.post("/oauth/token", data={**form, "redirect_uri": CALLBACK, **more})

    async def refreshed(self, client_id: str, token: str, **more: Any) -> httpx2.Response:
        form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": token, **more}
        return await self.http.post("/oauth/token", data=form)

    async def granted(self, email: str = ADA, **more: Any) -> JSON:
        """Goes the whole way for a client, and returns the tokens, with its ``client_id``."""
        client = await self.client()
        code = await self.code(await self.signed_in(email), client, **more)
        answer = await self.token(client, code)
        assert answer.status_code == 200, answer.text
        return {**answer.json(), "client_id": client}

    async def call(
        self, endpoint: str, token: str | None, method: str = "tools/list", path: str = "", **params: Any
    ) -> httpx2.Response:
        """Asks an endpoint as a modern client."""
        headers = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": method,
        }
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if method == "tools/call":
            headers["Mcp-Name"] = params["name"]
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": MODERN}}
        return await self.http.post(self.url_of(endpoint) + path, json=body, headers=headers)


def challenge_of(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def new_verifier() -> str:
    return secrets.token_urlsafe(48)


def sealed_of(page: httpx2.Response) -> str:
    found = re.search(r'name="request" value="([^"]+)"', page.text)
    assert found is not None, page.text
    return unescape(found[1])


def sent_back(answer: httpx2.Response) -> dict[str, str]:
    """Returns what a redirect tells the client."""
    assert answer.status_code == 303, answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def server_command(*tools: str) -> dict[str, Any]:
    """Returns a stdio server with tools."""
    does = {"tools": list(tools)}
    return {"command": sys.executable, "args": [str(ROOT / "tests" / "stdio_server.py"), json.dumps(does)]}


@contextlib.asynccontextmanager
async def home(url: str, **given: Any) -> AsyncIterator[Home]:
    """Runs a gateway over the database at `url`."""
    store = await opened(url)
    async with store.write(SYSTEM) as tx:
        ada = await users.create(tx, COMMAND_LINE, NewUser(email=ADA, name="Ada"))
        mel = await users.create(tx, COMMAND_LINE, NewUser(email=MEL))
        ada.password_hash = mel.password_hash = hashed()
        namespace = await tx.add(Namespace(name="all"))
        server = await tx.add(Server(name="echo", type="stdio", **server_command("read", "write")))
        await tx.add(Membership(namespace_id=namespace.id, server_id=server.id))
        ids = {"ada": str(ada.id), "server": str(server.id), "namespace": str(namespace.id)}
        await tx.add(ToolSetting(namespace_id=namespace.id, server_id=server.id, tool="write", name="renamed"))
        options: Any = {"scopes": ["admin"], "tool_scopes": [["echo__ren*", ["files:write", "files:all"]]]}
        for name, more in {
            "tools": {"api_key_auth": False, "oauth": True},
            "both": {"api_key_auth": True, "oauth": True},
            "keys": {},
            "steps": {"api_key_auth": False, "oauth": True, "oauth_options": options},
            "mine": {"api_key_auth": False, "oauth": True, "owner_id": ada.id},
        }.items():
            await tx.add(Endpoint(name=name, namespace_id=namespace.id, **more))
    await store.aclose()
    gateway = Gateway.from_store(url, Settings(secret_keys=(SECRET,), **given))
    async with served(gateway, "on") as port:
        running = Home(gateway, port, url)
        running.ids, running.people, running.clients = ids, {}, {}
        running.http = httpx2.AsyncClient(base_url=running.origin, timeout=20)
        try:
            yield running
        finally:
            await running.http.aclose()
            await running.aclose()
            gateway.close_streams()


__all__ = ["ADA", "CALLBACK", "JSON", "MEL", "Home", "challenge_of", "home", "new_verifier", "sent_back"]
