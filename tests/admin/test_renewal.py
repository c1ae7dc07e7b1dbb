"""A reset or a refresh reaches every process of the gateway, whichever of them is asked."""

import asyncio
from pathlib import Path
from typing import Any

from metamcp_asgi import Gateway
from metamcp_asgi.settings import Settings
from tests.admin.managed import ADMIN, Managed, managed
from tests.databases import SECRET
from tests.gateway.client import Client
from tests.gateway.running import served
from tests.gateway.upstreams.raw import tool_named
from tests.redis import Redis
from tests.workers.running import until
from tests.workers.test_owners import Counting, count


async def made(api: Managed, port: int) -> str:
    """Makes a server that keeps something for each key, and an endpoint; returns the server's path."""
    url = f"http://127.0.0.1:{port}/mcp"
    server = await api.make("/servers", {"name": "kept", "url": url, "sharing": "principal"})
    namespace = await api.make("/namespaces", {"name": "all", "servers": [{"serverId": server["id"]}]})
    await api.make("/endpoints", {"name": "tools", "namespaceId": namespace["id"]})
    return f"/servers/{server['id']}"


async def tools(client: Client) -> set[str]:
    answer = await client.modern("tools/list")
    return {tool["name"] for tool in answer.result()["tools"]} if answer.status == 200 else set()


async def until_listed(client: Client, name: str) -> None:
    async with asyncio.timeout(30):
        while name not in await tools(client):
            pass


async def test_every_process_begins_anew(redis: Redis, prefix: str, tmp_path: Path) -> None:
    common: dict[str, Any] = {"redis_url": redis.url, "redis_prefix": prefix}
    url, server = f"sqlite:///{tmp_path}/metamcp.db", Counting()
    async with served(server) as upstream, managed(url, **common) as api:
        path = await made(api, upstream)
        other = Gateway.from_store(url, Settings(secret_keys=(SECRET,), **common))
        async with served(other, "on") as port:
            try:
                here, there = api.client("tools", ADMIN), Client(port, "tools", ADMIN)
                for client in (here, there):
                    await until_listed(client, "kept__counter")
                # Its session is the other process's, and each has one of its own for lists.
                assert [await count(there), await count(here)] == [1, 2]
                assert server.count("initialize") == 3
                assert (await api.send("POST", f"{path}/reset")).status_code == 200
                await until(lambda: server.count("initialize") == 5)
                for client in (here, there):
                    await until_listed(client, "kept__counter")
                assert [await count(here), await count(there)] == [1, 2]

                server.behaviour["tools/list"] = server.listed("tools", [tool_named("newer")])
                assert (await api.send("POST", f"{path}/refresh")).status_code == 200
                for client in (here, there):
                    await until_listed(client, "kept__newer")

                redis.kill()
                refused = await api.send("POST", f"{path}/reset")
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert "may not have been reset in all processes" in refused.json()["detail"]
            finally:
                other.close_streams()
