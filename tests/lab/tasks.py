"""The tasks extension of 2026-07-28 (SEP-2663) for servers of the Python SDK 2, which has only the place for it."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, ToolBinding
from mcp.server.mcpserver import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolRequestParams, RequestParams
from pydantic import Field

__all__ = ["TasksExtension"]

LOOKS = 2
"""How often a task is looked at before it has ended."""


class About(RequestParams):
    """What every request about a task has."""

    task_id: str = Field(alias="taskId")
    input_responses: dict[str, dict[str, Any]] = Field(default={}, alias="inputResponses")


@dataclass(slots=True)
class Task:
    """One task, which ends once it was looked at `LOOKS` times, and, if it asks, was answered."""

    id: str
    topic: str
    asks: bool
    created: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    looks: int = 0
    said: str = ""
    cancelled: bool = False

    def told(self, **more: Any) -> dict[str, Any]:
        times = {"createdAt": self.created, "lastUpdatedAt": self.created, "ttlMs": 60_000, "pollIntervalMs": 50}
        return {"taskId": self.id, "status": "working", **times, **more}

    def state(self) -> dict[str, Any]:
        if self.cancelled:
            return {"status": "cancelled"}
        if self.asks and not self.said:
            schema = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}
            asked = {"mode": "form", "message": f"A word for {self.topic}?", "requestedSchema": schema}
            return {
                "status": "input_required",
                "inputRequests": {"word": {"method": "elicitation/create", "params": asked}},
            }
        self.looks += 1
        if self.looks < LOOKS:
            return {"statusMessage": "half"}
        text = f"{self.topic}: {self.said or 'done'}"
        return {"status": "completed", "result": {"content": [{"type": "text", "text": text}]}}


class TasksExtension(Extension):
    """Makes a task of each call of `task_slow`, `task_ask` and `task_only`.

    Clients without the extension get the result of the first at once; for the others they get its error.
    """

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._numbers = itertools.count(1)

    def tools(self) -> Sequence[ToolBinding]:
        def task_slow(topic: str) -> str:
            return f"{topic}: at once"

        def task_ask(topic: str) -> str:
            raise NotImplementedError

        def task_only(topic: str) -> str:
            raise NotImplementedError

        return [ToolBinding(task_slow), ToolBinding(task_ask), ToolBinding(task_only)]

    def methods(self) -> Sequence[MethodBinding]:
        modern = frozenset({"2026-07-28"})
        handlers = {"tasks/get": self._get, "tasks/update": self._update, "tasks/cancel": self._cancel}
        return [MethodBinding(method, About, handler, modern) for method, handler in handlers.items()]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        if not params.name.startswith("task_"):
            return await call_next(ctx)
        able = ctx.session.client_capabilities
        if params.name == "task_slow" and self.identifier not in ((able and able.extensions) or {}):
            return await call_next(ctx)
        require_client_extension(ctx, self.identifier)
        topic = str((params.arguments or {})["topic"])
        task = Task(f"task {next(self._numbers)}", topic, params.name == "task_ask")
        self._tasks[task.id] = task
        return task.told(resultType="task")

    async def _get(self, ctx: ServerRequestContext[Any, Any], about: About) -> HandlerResult:
        task = self._task(ctx, about)
        return task.told(resultType="complete", **task.state())

    async def _update(self, ctx: ServerRequestContext[Any, Any], about: About) -> HandlerResult:
        task = self._task(ctx, about)
        for answer in about.input_responses.values():
            task.said = answer["content"]["word"]
        return {"resultType": "complete"}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], about: About) -> HandlerResult:
        self._task(ctx, about).cancelled = True
        return {"resultType": "complete"}

    def _task(self, ctx: ServerRequestContext[Any, Any], about: About) -> Task:
        require_client_extension(ctx, self.identifier)
        task = self._tasks.get(about.task_id)
        if task is None:
            raise MCPError(code=INVALID_PARAMS, message="I have no such task")
        return task
