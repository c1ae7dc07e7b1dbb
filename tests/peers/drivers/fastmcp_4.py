"""Drives the client of FastMCP 4: fastmcp_4.py URL KEY MODE CALLS (MODE: auto or legacy)."""

import asyncio
import json
import sys

from fastmcp import Client


async def main(url: str, key: str, mode: str, calls: str) -> None:
    async with Client(url, auth=key, mode=mode) as client:
        tools = await client.list_tools()
        results = []
        for name, arguments in json.loads(calls):
            result = await client.call_tool(name, arguments, raise_on_error=False)
            texts = [block.text for block in result.content if block.type == "text"]
            results.append({"text": "\n".join(texts), "isError": bool(result.is_error)})
        found = {"revision": client.protocol_version, "tools": [tool.name for tool in tools], "results": results}
    print(json.dumps(found))


asyncio.run(main(*sys.argv[1:]))
