"""A registry on a real socket that answers as the generic registry API, v0.1, says (its openapi.yaml of 2025-12-01)."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

from tests.serving import Served, serving

JSON = dict[str, Any]
WEATHER = {
    "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
    "name": "io.github.user/weather",
    "title": "Weather",
    "description": "Weather data and forecasts",
    "version": "1.0.2",
    "repository": {"url": "https://github.com/user/weather", "source": "github"},
    "packages": [
        {
            "registryType": "npm",
            "registryBaseUrl": "https://registry.npmjs.org",
            "identifier": "@user/weather",
            "version": "1.0.2",
            "transport": {"type": "stdio"},
            "packageArguments": [
                {"type": "positional", "value": "serve"},
                {"type": "named", "name": "--units", "default": "metric", "choices": ["metric", "imperial"]},
                {"type": "named", "name": "--folder", "value": "/data/{folder}", "variables": {"folder": {}}},
            ],
            "environmentVariables": [
                {"name": "WEATHER_KEY", "description": "From your account", "isRequired": True, "isSecret": True},
                {"name": "LOG_LEVEL", "value": "warn"},
            ],
        },
        {"registryType": "mcpb", "identifier": "https://example.com/weather.mcpb", "transport": {"type": "stdio"}},
    ],
}
HOSTED = {
    "name": "com.example/hosted",
    "description": "Reached by its URL",
    "version": "2.0.0",
    "websiteUrl": "javascript:alert(1)",
    "remotes": [
        {
            "type": "streamable-http",
            "url": "https://{tenant}.example.com/mcp",
            "variables": {"tenant": {"isRequired": True, "default": "acme"}},
            "headers": [
                {
                    "name": "Authorization",
                    "value": "Bearer {token}",
                    "variables": {"token": {"isRequired": True, "isSecret": True}},
                }
            ],
        }
    ],
}


class Listing:
    """A registry; `servers` may be changed, `broken` is answered instead of anything, `hangs` answers nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.servers: list[JSON] = [WEATHER, HOSTED]
        self.broken: tuple[int, bytes] | None = None
        self.hangs = False
        self.origin = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path, query = scope["raw_path"].decode(), parse_qs(scope["query_string"].decode())
        self.asked.append(f"{path}?{scope['query_string'].decode()}")
        if self.hangs:
            await asyncio.Event().wait()
        status, body = self.broken or self._answer(path.split("?")[0], query)
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, bytes]:
        if path == "/v0.1/servers":
            words, limit = query.get("search", [""])[0], int(query["limit"][0])
            first = int(query.get("cursor", ["0"])[0])
            found = [each for each in self.servers if words.lower() in each["name"]]
            metadata: JSON = {"count": len(found[first : first + limit])}
            if len(found) > first + limit:
                metadata["nextCursor"] = str(first + limit)
            entries = [self._entry(each) for each in found[first : first + limit]]
            return 200, json.dumps({"servers": entries, "metadata": metadata}).encode()
        for each in self.servers:
            quoted = each["name"].replace("/", "%2F")
            if path in (
                f"/v0.1/servers/{quoted}/versions/{each['version']}",
                f"/v0.1/servers/{quoted}/versions/latest",
            ):
                return 200, json.dumps(self._entry(each)).encode()
        return 404, b'{"error": "Server not found"}'

    def _entry(self, server: JSON) -> JSON:
        status = server.get("status", "active")
        official = {"status": status, "publishedAt": "2026-01-01T00:00:00Z", "isLatest": True}
        return {"server": server, "_meta": {"io.modelcontextprotocol.registry/official": official}}


@contextlib.asynccontextmanager
async def listing() -> AsyncIterator[Listing]:
    """Serves a registry."""
    app = Listing()
    async with serving(app) as server:
        assert isinstance(server, Served)
        app.origin = server.origin
        yield app
