"""A server whose tools, prompt and resource need the client's input; made with the Python SDK, in either era.

As a program it speaks stdio:  python -m tests.interaction.server NAME
"""

import sys
from typing import Annotated, Any

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp.shared.exceptions import UrlElicitationRequiredError
from mcp_types import (
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    InputRequiredResult,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel

PAGE = "https://example.com/connect"


class Word(BaseModel):
    """What users are asked for."""

    word: str


def _said(answer: ElicitationResult[Word]) -> str:
    return answer.data.word if isinstance(answer, AcceptedElicitation) else answer.action


def build(name: str) -> MCPServer[Any]:
    """Returns a server."""
    server: MCPServer[Any] = MCPServer(name, log_level="WARNING")
    calls = {"counter": 0}
    opened: set[str] = set()

    def first(topic: str) -> Elicit[Word]:
        return Elicit(f"A word for {topic}?", Word)

    def second(topic: str, before: Annotated[ElicitationResult[Word], Resolve(first)]) -> Elicit[Word]:
        return Elicit(f"And one after {_said(before)}?", Word)

    def written(topic: str) -> Sample:
        message = SamplingMessage(role="user", content=TextContent(type="text", text=f"Write about {topic}"))
        return Sample([message], max_tokens=50, include_context="allServers")

    def places() -> ListRoots:
        return ListRoots()

    @server.tool()
    async def ask(topic: str, answer: Annotated[ElicitationResult[Word], Resolve(first)]) -> str:
        return f"{topic}: {_said(answer)}"

    @server.tool()
    async def ask_twice(
        topic: str,
        answer: Annotated[ElicitationResult[Word], Resolve(first)],
        then: Annotated[ElicitationResult[Word], Resolve(second)],
    ) -> str:
        return f"{topic}: {_said(answer)}, {_said(then)}"

    @server.tool()
    async def sample(topic: str, written: Annotated[CreateMessageResult, Resolve(written)]) -> str:
        content = written.content
        return content.text if isinstance(content, TextContent) else str(content)

    @server.tool()
    async def roots(found: Annotated[ListRootsResult, Resolve(places)]) -> str:
        return ", ".join(str(root.uri) for root in found.roots)

    @server.tool()
    async def all_at_once(
        topic: str,
        answer: Annotated[ElicitationResult[Word], Resolve(first)],
        written: Annotated[CreateMessageResult, Resolve(written)],
        found: Annotated[ListRootsResult, Resolve(places)],
    ) -> str:
        content = written.content
        text = content.text if isinstance(content, TextContent) else str(content)
        return f"{_said(answer)} / {text} / {len(found.roots)}"

    @server.tool()
    async def progress_and_ask(topic: str, ctx: Context[Any]) -> str:
        """A legacy server's way: the call stays open around the question."""
        await ctx.report_progress(1, 3, "before")
        answer = await ctx.elicit(f"A word for {topic}?", Word)
        await ctx.report_progress(2, 3, "after")
        calls["counter"] += 1
        return f"{topic}: {_said(answer)} ({calls['counter']})"

    @server.tool()
    async def open_page(ctx: Context[Any]) -> str | InputRequiredResult:
        """Sends the user to a page."""
        if not (ctx.protocol_version or "") >= "2026":
            answer = await ctx.elicit_url("Connect your account", PAGE, "connect-1")
            return answer.action
        given = (ctx.input_responses or {}).get("page")
        if isinstance(given, ElicitResult):
            return given.action
        page = ElicitRequest(params=ElicitRequestURLParams(message="Connect your account", url=PAGE))
        return InputRequiredResult(input_requests={"page": page})

    @server.tool()
    async def locked(topic: str, ctx: Context[Any], asks: bool = False) -> str:
        """Refuses, the first time, until the user has opened a page; the way of 2025-11-25."""
        if asks:
            await ctx.elicit(f"A word for {topic}?", Word)
        if topic not in opened:
            opened.add(topic)
            page = ElicitRequestURLParams(message="Open this", url=f"{PAGE}?{topic}", elicitation_id=f"id-{topic}")
            raise UrlElicitationRequiredError([page])
        return f"{topic} is open"

    @server.tool()
    def echo(text: str) -> str:
        return text

    @server.prompt()
    async def story(topic: str, ctx: Context[Any]) -> str | InputRequiredResult:
        if not (ctx.protocol_version or "") >= "2026":
            answer = await ctx.elicit(f"A word for {topic}?", Word)
            return f"{topic} with {_said(answer)}"
        given = (ctx.input_responses or {}).get("word")
        if isinstance(given, ElicitResult):
            return f"{topic} with {(given.content or {}).get('word', given.action)}"
        asked = ElicitRequestFormParams(message=f"A word for {topic}?", requested_schema=Word.model_json_schema())
        return InputRequiredResult(input_requests={"word": ElicitRequest(params=asked)}, request_state=topic)

    return server


if __name__ == "__main__":
    build(sys.argv[1]).run(transport="stdio")
