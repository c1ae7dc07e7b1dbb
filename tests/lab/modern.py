"""A server of the laboratory made with the Python SDK 2; as a program it speaks stdio.

python -m tests.lab.modern NAME WITNESS_SOCKET
"""

import sys
from typing import Annotated, Any

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp.server.subscriptions import InMemorySubscriptionBus
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

from tests.gateway.witness import RemoteWitness, Reports
from tests.lab.common import PAGE, Word, add_common
from tests.lab.tasks import TasksExtension


def _said(answer: ElicitationResult[Word]) -> str:
    return answer.data.word if isinstance(answer, AcceptedElicitation) else answer.action


def _asked(ctx: Context[Any], topic: str) -> str | InputRequiredResult:
    """Asks for a word in the terms of the protocol, and says what the user said."""
    given = (ctx.input_responses or {}).get("word")
    if isinstance(given, ElicitResult):
        return str((given.content or {}).get("word", given.action))
    asked = ElicitRequestFormParams(message=f"A word for {topic}?", requested_schema=Word.model_json_schema())
    return InputRequiredResult(input_requests={"word": ElicitRequest(params=asked)}, request_state=topic)


def build(name: str, witness: Reports, bus: InMemorySubscriptionBus | None = None) -> MCPServer[Any]:
    """Returns a server.

    Args:
        name: Its name, which its URIs have as their scheme.
        witness: Where its tools report.
        bus: Where it announces changes.
    """
    server: MCPServer[Any] = MCPServer(name, subscriptions=bus, log_level="WARNING", extensions=[TasksExtension()])
    add_common(server, name, witness)

    def first(topic: str) -> Elicit[Word]:
        witness.report(f"{name} asks about {topic}")
        return Elicit(f"A word for {topic}?", Word)

    def second(topic: str, before: Annotated[ElicitationResult[Word], Resolve(first)]) -> Elicit[Word]:
        return Elicit(f"And one after {_said(before)}?", Word)

    def written(topic: str) -> Sample:
        message = SamplingMessage(role="user", content=TextContent(type="text", text=f"Write about {topic}"))
        return Sample([message], max_tokens=50, include_context="allServers")

    def places() -> ListRoots:
        return ListRoots()

    @server.tool()
    def arr() -> list[int]:
        return [1, 2]

    @server.tool()
    async def ask(topic: str, answer: Annotated[ElicitationResult[Word], Resolve(first)]) -> str:
        witness.report(f"{name} answered about {topic}")
        return f"{topic}: {_said(answer)}"

    @server.tool()
    async def ask_twice(
        topic: str,
        answer: Annotated[ElicitationResult[Word], Resolve(first)],
        then: Annotated[ElicitationResult[Word], Resolve(second)],
    ) -> str:
        return f"{topic}: {_said(answer)}, {_said(then)}"

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
    async def open_page(ctx: Context[Any]) -> str | InputRequiredResult:
        """Sends the user to a page, and gives no state along."""
        given = (ctx.input_responses or {}).get("page")
        if isinstance(given, ElicitResult):
            return given.action
        page = ElicitRequest(params=ElicitRequestURLParams(message="Connect your account", url=PAGE))
        return InputRequiredResult(input_requests={"page": page})

    @server.tool(meta={"ui": {"resourceUri": "ui://app"}})
    def show() -> str:
        return name

    @server.tool(name=f"only_{name}")
    def only() -> str:
        return name

    @server.resource("ui://app", mime_type="text/html;profile=mcp-app")
    def app() -> str:
        return f"app of {name}"

    @server.tool()
    async def touch(ctx: Context[Any]) -> str:
        await ctx.notify_resource_updated(f"{name}://doc")
        return "touched"

    @server.prompt()
    async def story(topic: str, ctx: Context[Any]) -> str | InputRequiredResult:
        said = _asked(ctx, topic)
        return said if isinstance(said, InputRequiredResult) else f"{topic} with {said}"

    @server.resource(f"{name}://asked/{{topic}}")
    async def asked(topic: str, ctx: Context[Any]) -> str | InputRequiredResult:
        said = _asked(ctx, topic)
        return said if isinstance(said, InputRequiredResult) else f"{topic} with {said}"

    return server


if __name__ == "__main__":
    build(sys.argv[1], RemoteWitness(sys.argv[2])).run(transport="stdio")
