"""Follows tasks as clients of either revision do."""

import asyncio
from typing import Any

from tests.gateway.client import CAPABILITIES, JSON, Answer, Client, Session

TASKS = "io.modelcontextprotocol/tasks"
RELATED = "io.modelcontextprotocol/related-task"
ABLE: JSON = {CAPABILITIES: {"extensions": {TASKS: {}}}}
ASKABLE: JSON = {CAPABILITIES: {"extensions": {TASKS: {}}, "elicitation": {}}}


async def about(client: Client, method: str, task: str, meta: JSON = ABLE, **params: Any) -> Answer:
    """Asks about a task, as a well-formed request of the extension does."""
    return await client.modern(method, {"taskId": task, **params}, meta=meta, headers=[("Mcp-Name", task)])


async def until(client: Client, task: str, *statuses: str, meta: JSON = ABLE) -> JSON:
    """Polls a task, as the extension has it, until it has one of these statuses."""
    async with asyncio.timeout(30):
        while (got := (await about(client, "tasks/get", task, meta)).result())["status"] not in statuses:
            pass
    return got


async def begun(session: Session, tool: str, arguments: JSON | None = None, ttl: int = 60_000) -> JSON:
    """Calls a tool as a task of 2025-11-25."""
    params: JSON = {"name": tool, "arguments": arguments or {}, "task": {"ttl": ttl}}
    result = (await session.request("tools/call", params)).result()
    assert result.keys() == {"task"}, result
    task: JSON = result["task"]
    return task
