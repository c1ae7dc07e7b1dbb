"""The gateway as the OAuth client that the suite judges: one gateway for all scenarios, told of each over HTTP.

The suite starts a command for each scenario, many at a time. That command (`relay.py`) only passes on what it was
given; a person who agrees to everything, and a client that calls every tool, are played here.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from metamcp_asgi import Gateway
from metamcp_asgi.grants.connect import Connecting
from metamcp_asgi.grants.fetch import GrantError
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.settings import Settings
from metamcp_asgi.store.models import Endpoint, Membership, Namespace, Server, User
from metamcp_asgi.store.policy import COMMAND_LINE, Acting
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.secrets import ServerSecrets
from tests.databases import SECRET, opened
from tests.serving import Client, Served, serving, until

__all__ = ["Driver", "driver"]

APP_URL = "https://gateway.example.com"
"""Where the gateway says that it is; the person here finds their way without that."""
TIMES = 3
"""How often the person agrees before they give up."""
ALLOWED = ("127.0.0.1", "localhost", "::1")
CAN_OPEN_PAGES = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"url": {}}}}


class Driver:
    """A gateway with a database, and a person and a client who use it."""

    def __init__(self, gateway: Gateway, origin: str, store: Store, person: Acting, http: httpx2.AsyncClient) -> None:
        self.gateway = gateway
        self.origin = origin
        self.store = store
        self.person = person
        self.http = http
        self.port = 0
        self.connecting = Connecting(self._opened, gateway.grants, gateway.bus, KeyRing((SECRET,)))
        self.said: dict[str, list[str]] = {}
        self._numbers = itertools.count(1)

    async def _opened(self) -> Store:
        return self.store

    async def told(self, request: Request) -> JSONResponse:
        """Plays one scenario, of which the relay tells."""
        given = await request.json()
        said = self.said.setdefault(given["scenario"], [])
        try:
            async with asyncio.timeout(60):
                await self._play(given["url"], json.loads(given["context"] or "{}"), said)
        except (GrantError, AssertionError, TimeoutError) as error:
            said.append(repr(error))
        return JSONResponse({"said": said})

    async def _play(self, url: str, context: Mapping[str, Any], said: list[str]) -> None:
        name = f"s{next(self._numbers)}"
        server, client = await self._publish(name, url, context)
        for _ in range(TIMES):
            missing = await client.missing()
            if missing:
                said.append(str(missing))
                if "connect" not in str(missing):
                    return
                await self._agree(server, said)
                await until(lambda: self.gateway.aggregator.pool.servers[name].state != "starting")
                continue
            tools = (await client.result("tools/list"))["tools"]
            results = [await self._call(client, tool) for tool in tools]
            said.extend(map(str, results))
            if not any("/oauth/connect/" in str(result) for result in results):
                return
            await self._agree(server, said)

    async def _call(self, client: Client, tool: Mapping[str, Any]) -> Any:
        return await client.ask("tools/call", name=tool["name"], arguments={}, _meta=CAN_OPEN_PAGES)

    async def _agree(self, server: Server, said: list[str]) -> None:
        departure = await self.connecting.depart(self.person, server.id)
        answer = await self.http.get(departure.url)
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.headers["location"])
        query = {name: values[0] for name, values in parse_qs(back.query).items()}
        said.append(f"agreed: {sorted(query)}")
        await self.connecting.arrive(self.person, departure.browser, query)

    async def _publish(self, name: str, url: str, context: Mapping[str, Any]) -> tuple[Server, Client]:
        oauth: dict[str, Any] | None = None
        if "client_id" in context:
            oauth = {"flow": "authorization_code", "grant": "server", "clientId": context["client_id"]}
            if str(context.get("name")).startswith("auth/client-credentials-"):
                oauth["flow"] = "client_credentials"
            if "signing_algorithm" in context:
                oauth["algorithm"] = context["signing_algorithm"]
        secrets = ServerSecrets(client_secret=context.get("client_secret"), private_key=context.get("private_key_pem"))
        async with self.store.write(COMMAND_LINE) as tx:
            server = await tx.add(Server(name=name, type="streamable_http", url=url, oauth=oauth, timeout=20.0))
            if secrets:
                tx.set_secrets(server, secrets)
            namespace = await tx.add(Namespace(name=name))
            await tx.add(Membership(namespace_id=namespace.id, server_id=server.id))
            await tx.add(Endpoint(name=name, namespace_id=namespace.id, api_key_auth=False))
        await until(lambda: name in self.gateway.snapshot.endpoints)
        return server, Client(f"{self.origin}/metamcp/{name}/mcp", self.http)


@contextlib.asynccontextmanager
async def driver(folder: Path) -> AsyncIterator[Driver]:
    """Starts one; its `port` is where relays tell it of scenarios."""
    url = f"sqlite:///{folder}/a.db"
    store = await opened(url)
    async with store.write(COMMAND_LINE) as tx:
        user = await tx.add(User(email="ada@example.com", role="admin"))
    settings = Settings(
        secret_keys=(SECRET,), app_url=APP_URL, outward_allowed=ALLOWED, allowed_hosts=("*",), server_deadline=15.0
    )
    gateway = Gateway.from_store(url, settings)
    async with serving(gateway, lifespan="on") as served, httpx2.AsyncClient(timeout=60) as http:
        person = Acting(user.id, user.email, "admin")
        made = Driver(gateway, served.origin, store, person, http)
        async with serving(Starlette(routes=[Route("/", made.told, methods=["POST"])])) as told:
            made.port = _port(told)
            yield made
        gateway.close_streams()
    await store.aclose()


def _port(served: Served) -> int:
    return served.port
