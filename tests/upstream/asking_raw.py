"""A legacy server that asks whatever and wherever a test likes."""

import asyncio
import itertools
import json
from typing import Any

from tests.scripted import LegacyServer, Offer, body_of, reply
from tests.scripted import text as said
from tests.serving import until

FORM_PARAMS = {"message": "Word?", "requestedSchema": {"type": "object", "properties": {}}}


class Asking(LegacyServer):
    """A legacy server whose tools ask on the stream that they like, and which keeps what it is answered."""

    def __init__(self, **options: Any) -> None:
        super().__init__(Offer(), **options)
        self.numbers = itertools.count()
        self.answers: dict[str, dict[Any, dict[str, Any]]] = {}
        self.answered = asyncio.Condition()
        self.declared: dict[str, Any] = {}
        self.arrived: asyncio.Queue[str] = asyncio.Queue()
        self.go = asyncio.Event()
        self.at_start: dict[str, Any] | None = None
        self.queues: dict[str, asyncio.Queue[Any]] = {}
        for name in ("own", "other", "wait", "withdraw"):
            self.offer.add(name, getattr(self, name))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        session = dict(scope["headers"]).get(b"mcp-session-id", b"").decode()
        if scope["method"] == "POST":
            body = await body_of(receive)
            message = json.loads(body)
            if message.get("method") == "initialize":
                self.declared[f"next {len(self.opened)}"] = message["params"]["capabilities"]
            if "method" not in message:
                async with self.answered:
                    self.answers.setdefault(session, {})[message["id"]] = message
                    self.answered.notify_all()
                await reply(send, 202)
                return
            if message["method"] == "notifications/initialized" and self.at_start and session in self.queues:
                self.queues[session].put_nowait(self.at_start)

            async def again() -> dict[str, Any]:
                return {"type": "http.request", "body": body, "more_body": False}

            await super().__call__(scope, again, send)
        else:
            await super().__call__(scope, receive, send)

    async def _stream(self, headers: Any, receive: Any, send: Any) -> None:
        before = set(self.listeners)
        task = asyncio.ensure_future(super()._stream(headers, receive, send))
        await until(lambda: self.listeners - before or task.done())
        for queue in self.listeners - before:
            self.queues[headers[b"mcp-session-id"]] = queue
            if self.at_start:
                queue.put_nowait(self.at_start)
        await task

    async def answer(self, session: str, number: Any) -> dict[str, Any]:
        """Waits for the answer to a question."""
        async with asyncio.timeout(20), self.answered:
            await self.answered.wait_for(lambda: number in self.answers.get(session, {}))
            return self.answers[session][number]

    def question(self, method: str = "elicitation/create", params: Any = None) -> dict[str, Any]:
        params = FORM_PARAMS if params is None else params
        return {"jsonrpc": "2.0", "id": f"q{next(self.numbers)}", "method": method, "params": params}

    async def own(self, context: Any) -> Any:
        """Asks on the stream of the call."""
        question = self.question(context.arguments.get("method", "elicitation/create"), context.arguments.get("params"))
        await context.tell(question)
        answer = await self.answer(context.session, question["id"])
        return said(json.dumps(answer.get("result", answer.get("error"))))

    async def other(self, context: Any) -> Any:
        """Asks on the stream of the session, which belongs to no call."""
        await until(lambda: context.session in self.queues)
        question = self.question(context.arguments.get("method", "elicitation/create"))
        self.queues[context.session].put_nowait(question)
        answer = await self.answer(context.session, question["id"])
        return said(json.dumps(answer.get("result", answer.get("error"))))

    async def wait(self, context: Any) -> Any:
        self.arrived.put_nowait(context.session)
        await self.go.wait()
        return said("waited")

    async def withdraw(self, context: Any) -> Any:
        """Asks, and no longer wants to know."""
        question = self.question()
        await context.tell(question)
        self.arrived.put_nowait(context.session)
        await self.go.wait()
        params = {"requestId": question["id"]}
        await context.tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        second = self.question()
        await context.tell(second)
        await self.answer(context.session, second["id"])
        return said("answered" if question["id"] in self.answers[context.session] else "not answered")
