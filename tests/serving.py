"""ASGI applications, and whole gateways, served on a real socket inside the test's own event loop.

Knows how to serve, to die the way a crashed process does, and to talk to a gateway as a raw client of either era.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import httpx2
import uvicorn
from starlette.types import ASGIApp

from metamcp_asgi.config.file import compile_document
from metamcp_asgi.gateway import Gateway
from metamcp_asgi.settings import Settings
from tests.uvicorn_server import LoopServer

UNAVAILABLE = "io.github.metamcp-asgi/unavailableServers"
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
ACCEPT = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
_MIRRORED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


async def until(condition: Callable[[], Any], within: float = 30.0) -> Any:
    """Waits for what no event tells, and returns the first true value."""
    async with asyncio.timeout(within):
        while not (value := condition()):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
        return value


class _Server(LoopServer):
    async def shutdown(self, sockets: Any = None) -> None:
        """Lets go of the port at once, and waits for nobody."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()


class Served:
    """One application that is being served; it may be killed and started again on the same port."""

    def __init__(self, app: ASGIApp, lifespan: str = "off", **options: Any) -> None:
        self.app = app
        self.port = 0
        self._options = {"lifespan": lifespan, "log_config": None, "access_log": False, "ws": "none", **options}

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, app: ASGIApp | None = None) -> None:
        """Begins to listen, on the port of last time if there was one; `app` replaces the application."""
        self.app = app or self.app
        self._server = _Server(uvicorn.Config(self.app, host="127.0.0.1", port=self.port, **self._options))
        self._task = await self._server.begin()
        self.port = self._server.port

    def drop_connections(self) -> None:
        """Cuts every connection, as a crash does."""
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()

    async def kill(self) -> None:
        """Ends at once, in the middle of whatever it is doing."""
        self._server.end()
        await self._task

    async def stop(self) -> None:
        """Ends at once for its clients, but in good order for itself."""
        await self.kill()
        await self._server.lifespan.shutdown()


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, **options: Any) -> AsyncIterator[Served]:
    """Serves an application for the length of an `async with` block."""
    served = Served(app, **options)
    await served.start()
    try:
        yield served
    finally:
        if not served._task.done():
            await served.stop()


class Stream:
    """The messages of an open event stream, as they come."""

    def __init__(self, response: httpx2.Response) -> None:
        self._lines = response.aiter_lines()

    async def message(self, within: float = 30.0) -> dict[str, Any]:
        """Returns the next message; raises at the stream's end."""
        async with asyncio.timeout(within):
            async for line in self._lines:
                if line.startswith("data:") and line[5:].strip():
                    decoded: dict[str, Any] = json.loads(line[5:])
                    return decoded
        raise EOFError("the stream has ended")

    async def of_method(self, method: str) -> dict[str, Any]:
        """Returns the next notification of that method, passing over all others."""
        while (message := await self.message()).get("method") != method:
            pass
        return message


class Client:
    """A raw client of one endpoint; modern, unless it has opened a session."""

    def __init__(self, url: str, http: httpx2.AsyncClient, key: str = "") -> None:
        self.url = url
        self.http = http
        self.headers: dict[str, str] = {"Authorization": f"Bearer {key}"} if key else {}
        self.legacy = False
        self._id = 0

    async def session(self) -> "Client":
        """Returns a client with a legacy session of its own."""
        client = Client(self.url, self.http)
        client.headers, client.legacy = dict(self.headers), True
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        answer = await self.http.post(self.url, json=body, headers={**ACCEPT, **self.headers})
        assert answer.status_code == 200, answer.text
        client.headers["Mcp-Session-Id"] = answer.headers["mcp-session-id"]
        client.headers["MCP-Protocol-Version"] = "2025-11-25"
        return client

    def message(self, method: str, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Returns the body and the headers of a request."""
        self._id += 1
        params = dict(params)
        headers = {**ACCEPT, **self.headers}
        if not self.legacy:
            params["_meta"] = {**MODERN, **params.get("_meta", {})}
            headers |= {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method}
            if method in _MIRRORED:
                headers["Mcp-Name"] = params[_MIRRORED[method]]
        return {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params}, headers

    async def post(self, method: str, **params: Any) -> httpx2.Response:
        body, headers = self.message(method, params)
        return await self.http.post(self.url, json=body, headers=headers)

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a request and returns the response, which may be an error."""
        answer = await self.post(method, **params)
        text = answer.text
        if answer.headers["content-type"].startswith("text/event-stream"):
            text = [line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")][-1]
        decoded: dict[str, Any] = json.loads(text)
        return decoded

    async def result(self, method: str, **params: Any) -> dict[str, Any]:
        answer = await self.ask(method, **params)
        assert "result" in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    async def call(self, name: str, _meta: Mapping[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
        """Calls a tool and returns its result."""
        more = {"_meta": dict(_meta)} if _meta else {}
        return await self.result("tools/call", name=name, arguments=arguments, **more)

    async def text(self, name: str, **arguments: Any) -> str:
        """Calls a tool that must succeed, and returns its text."""
        result = await self.call(name, **arguments)
        assert not result.get("isError"), result
        text: str = result["content"][0]["text"]
        return text

    async def tools(self) -> list[str]:
        return [tool["name"] for tool in (await self.result("tools/list"))["tools"]]

    async def missing(self) -> dict[str, str]:
        """Returns which servers the list of tools is said to lack, and why."""
        result = await self.result("tools/list")
        return {each["server"]: each["reason"] for each in result.get("_meta", {}).get(UNAVAILABLE, [])}

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Stream]:
        """Opens the stream on which changes of lists are told, in the manner of the client's era."""
        if self.legacy:
            request = self.http.stream("GET", self.url, headers={**self.headers, "Accept": "text/event-stream"})
        else:
            wanted = {f"{kind}ListChanged": True for kind in ("tools", "prompts", "resources")}
            body, headers = self.message("subscriptions/listen", {"notifications": wanted})
            request = self.http.stream("POST", self.url, json=body, headers=headers)
        async with request as response:
            assert response.status_code == 200
            stream = Stream(response)
            if not self.legacy:
                assert (await stream.message())["method"] == "notifications/subscriptions/acknowledged"
            yield stream


class GatewayInProcess(Client):
    """A gateway of the test's own process, and a modern client of its endpoint `default`."""

    def __init__(self, gateway: Gateway, served: Served, http: httpx2.AsyncClient) -> None:
        super().__init__(f"{served.origin}/metamcp/default/mcp", http)
        self.gateway = gateway
        self.served = served

    def endpoint(self, name: str, key: str = "") -> Client:
        return Client(f"{self.served.origin}/metamcp/{name}/mcp", self.http, key)

    def server(self, name: str) -> Any:
        """Returns the running server of that name."""
        return self.gateway.aggregator.pool.servers[name]

    async def ready(self, *names: str) -> None:
        """Waits until these servers have been read, or all."""
        catalogues = self.gateway.aggregator.catalogues
        await asyncio.gather(*(catalogues[name].ready() for name in names or catalogues))


SETTINGS = Settings(server_deadline=5.0)


@contextlib.asynccontextmanager
async def gateway(
    servers: Mapping[str, Any], settings: Settings = SETTINGS, **sections: Any
) -> AsyncIterator[GatewayInProcess]:
    """Serves a gateway for these `mcpServers` and further sections of the configuration."""
    app = Gateway(compile_document({"mcpServers": servers, **sections}, environ={}), settings)
    limits = httpx2.Limits(max_connections=None)
    async with (
        serving(app, lifespan="on") as served,
        httpx2.AsyncClient(timeout=20, limits=limits, verify=False) as http,
    ):
        yield GatewayInProcess(app, served, http)
