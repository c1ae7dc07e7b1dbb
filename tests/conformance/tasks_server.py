"""A modern server with the tools that the suite's scenarios of the tasks extension call; no SDK has the extension yet.

python -m tests.conformance.tasks_server
"""

import asyncio
import itertools
import socket
import time
from typing import Any

import uvicorn

from tests.gateway.client import CAPABILITIES, JSON
from tests.gateway.upstreams.raw import Error, RawServer, Reply, Seen, text_result

TASKS = "io.modelcontextprotocol/tasks"
TOOLS = (
    "greet",
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
)
LACKING = Error(-32021, "runs as a task", {"requiredCapabilities": {"extensions": {TASKS: {}}}}, 400)
DONE: JSON = {"resultType": "complete"}


def question(name: str) -> JSON:
    schema = {"type": "object", "properties": {name: {"type": "string"}}}
    params = {"mode": "form", "message": f"Your {name}?", "requestedSchema": schema}
    return {"method": "elicitation/create", "params": params}


class Task:
    """One task; what has become of it is found out when somebody asks."""

    def __init__(self, number: int, seconds: float, end: JSON, *questions: str) -> None:
        self.id = f"task-{number}"
        self.created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.ends_at = time.monotonic() + seconds
        self.end = end
        self.questions = {f"{self.id}-{name}": question(name) for name in questions}
        self.cancelled = False

    def head(self, **more: Any) -> JSON:
        times = {"createdAt": self.created, "lastUpdatedAt": self.created, "ttlMs": 60_000, "pollIntervalMs": 100}
        return {"taskId": self.id, "status": "working", **times, **more}

    def state(self) -> JSON:
        if self.cancelled:
            return {"status": "cancelled"}
        if self.questions:
            return {"status": "input_required", "inputRequests": self.questions}
        return self.end if time.monotonic() >= self.ends_at else {}


def completed(text: str, **more: Any) -> JSON:
    return {"status": "completed", "result": text_result(text, **more)}


class TasksServer(RawServer):
    """The server."""

    def __init__(self) -> None:
        about = {"tasks/get": self._get, "tasks/update": self._update, "tasks/cancel": self._cancel}
        super().__init__("modern", TOOLS, {"tools/call": self._call, **about})
        self.capabilities = {**self.capabilities, "extensions": {TASKS: {}}}
        self.tasks: dict[str, Task] = {}
        self._numbers = itertools.count(1)

    def _call(self, seen: Seen) -> Reply:
        name, arguments = seen.params["name"], seen.params.get("arguments", {})
        follows = TASKS in seen.params["_meta"][CAPABILITIES].get("extensions", {})
        if name == "greet":
            return text_result(f"Hello, {arguments['name']}!", **DONE)
        if name == "slow_compute":
            if not follows or not arguments["seconds"]:
                return text_result(f"computed {arguments['label']}", **DONE)
            return self._begun(arguments["seconds"], completed(f"computed {arguments['label']}"))
        if not follows:
            return LACKING
        if name == "failing_job":
            return self._begun(1, completed("it failed", isError=True))
        if name == "protocol_error_job":
            return self._begun(0, {"status": "failed", "error": {"code": -32603, "message": "a crash"}})
        if name == "confirm_delete":
            return self._begun(0, completed("deleted"), "confirm")
        if name == "multi_input":
            return self._begun(0, completed("both"), "one", "other")
        answers = seen.params.get("inputResponses")
        if not answers:
            asked = {"name": question("user_name")}
            return {"resultType": "input_required", "inputRequests": asked, "requestState": "asked"}
        (answer,) = answers.values()
        return self._begun(0, completed(f"Hello, {' '.join(map(str, answer['content'].values()))}"))

    def _begun(self, seconds: float, end: JSON, *questions: str) -> JSON:
        task = Task(next(self._numbers), seconds, end, *questions)
        self.tasks[task.id] = task
        return task.head(resultType="task")

    def _get(self, seen: Seen) -> Reply:
        task = self.tasks.get(seen.params["taskId"])
        return Error(-32602, "Unknown task") if task is None else task.head(**DONE, **task.state())

    def _update(self, seen: Seen) -> Reply:
        for key in seen.params["inputResponses"]:
            self.tasks[seen.params["taskId"]].questions.pop(key, None)
        return DONE

    def _cancel(self, seen: Seen) -> Reply:
        task = self.tasks[seen.params["taskId"]]
        task.cancelled = task.state().get("status") not in ("completed", "failed")
        return DONE


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"ready http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    options: JSON = {"log_level": "warning", "lifespan": "off", "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(TasksServer(), **options))
    asyncio.run(server.serve([listener]))


if __name__ == "__main__":
    main()
