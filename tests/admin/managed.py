"""A gateway that serves from a store, managed over real HTTP; everything that it answers is kept for a look at it."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from metamcp_asgi import Gateway
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.keys import describe_key
from metamcp_asgi.store.models import ApiKey, User
from metamcp_asgi.store.repository import SYSTEM
from tests.databases import SECRET, opened
from tests.gateway.client import Client
from tests.gateway.running import served
from tests.places import ROOT

ADMIN = "sk_mt_" + "a" * 64
MEMBER = "sk_mt_" + "m" * 64
ENDPOINTS_ONLY = "sk_mt_" + "e" * 64
DISABLED = "sk_mt_" + "d" * 64

JSON = dict[str, Any]


class Managed:
    """A running gateway and its management API."""

    def __init__(self, gateway: Gateway, port: int, url: str) -> None:
        self.gateway = gateway
        self.port = port
        self.url = url
        self.bodies: list[str] = []
        self.ids: dict[str, str] = {}
        self._http = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=20)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def send(
        self, method: str, path: str, body: Any = None, *, key: str | None = ADMIN, match: str | None = None, **how: Any
    ) -> httpx2.Response:
        """Sends one request; `body` is JSON, or bytes as they are."""
        headers = dict(how.pop("headers", {}))
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key}")
        if match is not None:
            headers["If-Match"] = match
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
            how["content"] = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await self._http.request(method, path, headers=headers, **how)
        self.bodies.append(answer.text)
        return answer

    async def get(self, path: str, **how: Any) -> JSON:
        answer = await self.send("GET", path, **how)
        assert answer.status_code == 200, answer.text
        found: JSON = answer.json()
        return found

    async def make(self, path: str, body: JSON, **how: Any) -> JSON:
        answer = await self.send("POST", path, body, **how)
        assert answer.status_code == 201, answer.text
        made: JSON = answer.json()
        assert answer.headers["location"] == f"/api/v1{path}/{made['id']}"
        return made

    async def change(self, path: str, body: JSON, **how: Any) -> JSON:
        """Changes an object as it is now."""
        how.setdefault("match", "*")
        answer = await self.send("PATCH", path, body, **how)
        assert answer.status_code == 200, answer.text
        changed: JSON = answer.json()
        return changed

    async def server(self, name: str = "echo", **more: Any) -> JSON:
        """Adds a stdio server with the tools that a test wants."""
        does = {"tools": more.pop("tools", [])}
        arguments = [str(ROOT / "tests" / "stdio_server.py"), json.dumps(does)]
        return await self.make("/servers", {"name": name, "command": sys.executable, "args": arguments, **more})

    async def ready(self, server: JSON) -> JSON:
        """Waits until a server is read; returns its health."""
        async with asyncio.timeout(15):
            while True:
                health = await self.get(f"/servers/{server['id']}/health")
                if health["state"] == "ready" and health["tools"] is not None:
                    return health
                await asyncio.sleep(0.02)

    def client(self, endpoint: str, key: str | None = None) -> Client:
        return Client(self.port, endpoint, key)


@contextlib.asynccontextmanager
async def managed(url: str, **settings: Any) -> AsyncIterator[Managed]:
    """Runs a gateway over the database at `url`, with Ada, an admin, and Mel, a member."""
    store = await opened(url)
    async with store.write(SYSTEM) as tx:
        ada = await tx.add(User(email="ada@example.com", role="admin"))
        mel = await tx.add(User(email="mel@example.com"))
        for text, name, owner, more in (
            (ADMIN, "managing", ada, {"admin": True}),
            (MEMBER, "managing", mel, {"admin": True}),
            (ENDPOINTS_ONLY, "endpoints only", ada, {}),
            (DISABLED, "disabled", ada, {"admin": True, "disabled": True}),
        ):
            digest, prefix = describe_key(text)
            await tx.add(ApiKey(name=name, owner_id=owner.id, digest=digest, prefix=prefix, **more))
    await store.aclose()
    gateway = Gateway.from_store(url, Settings(secret_keys=(SECRET,), **settings))
    async with served(gateway, "on") as port:
        running = Managed(gateway, port, url)
        running.ids = {"ada": str(ada.id), "mel": str(mel.id)}
        try:
            yield running
        finally:
            await running.aclose()
            gateway.close_streams()
