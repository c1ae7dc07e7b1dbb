"""Drives the client of the MCP Python SDK 2.x: python_sdk_2.py URL KEY MODE CALLS (MODE: auto or legacy)."""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, key: str, mode: str, calls: str) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        tools = (await client.list_tools()).tools
        results = []
        for name, arguments in json.loads(calls):
            result = await client.call_tool(name, arguments)
            texts = [block.text for block in result.content if block.type == "text"]
            results.append({"text": "\n".join(texts), "isError": bool(result.is_error)})
        found = {"revision": client.protocol_version, "tools": [tool.name for tool in tools], "results": results}
    print(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))
