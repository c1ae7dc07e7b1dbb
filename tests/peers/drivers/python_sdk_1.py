"""Drives the client of the MCP Python SDK 1.x, of 1.8 and later: python_sdk_1.py URL KEY MODE CALLS."""

import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client


async def main(url: str, key: str, mode: str, calls: str) -> None:
    async with (
        streamablehttp_client(url, headers={"Authorization": f"Bearer {key}"}) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        initialized = await session.initialize()
        tools = (await session.list_tools()).tools
        results = []
        for name, arguments in json.loads(calls):
            result = await session.call_tool(name, arguments)
            texts = [block.text for block in result.content if block.type == "text"]
            results.append({"text": "\n".join(texts), "isError": bool(result.isError)})
        found = {"revision": initialized.protocolVersion, "tools": [tool.name for tool in tools], "results": results}
    print(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))
