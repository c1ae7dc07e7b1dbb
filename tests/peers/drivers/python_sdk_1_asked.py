"""Drives the client of the MCP Python SDK 1.x with a user to be asked: python_sdk_1_asked.py URL http|sse CALLS."""

import asyncio
import json
import sys
from datetime import timedelta

from mcp import ClientSession, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client

logged = []


async def elicited(context, params):
    return types.ElicitResult(action="accept", content={"sure": True})


async def sampled(context, params):
    text = types.TextContent(type="text", text=f"said {params.messages[0].content.text}")
    return types.CreateMessageResult(role="assistant", content=text, model="m")


async def roots(context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///old")])


async def log(params):
    logged.append(params.level)


async def main(url: str, transport: str, calls: str) -> None:
    connect = sse_client if transport == "sse" else streamablehttp_client
    async with (
        connect(url) as streams,
        ClientSession(
            *streams[:2],
            read_timeout_seconds=timedelta(seconds=40),
            elicitation_callback=elicited,
            sampling_callback=sampled,
            list_roots_callback=roots,
            logging_callback=log,
        ) as session,
    ):
        await session.initialize()
        await session.set_logging_level("error")
        texts = [(await session.call_tool(*call)).content[0].text for call in json.loads(calls)]
    print(json.dumps({"texts": texts, "logged": logged}))


asyncio.run(main(*sys.argv[1:]))
