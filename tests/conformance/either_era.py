"""The everything-server, with tools that ask in either era, for the legs that cross from one era to the other.

    python -m tests.conformance.either_era [stdio | sse]

Of the tools that ask something, the SDK's own server has some that only do so in the manner of a legacy revision, in
the middle of a call, and others that only do so in that of 2026-07-28, by an unfinished result. Spoken to in the other
era, each ends in an error of its SDK, so the scenarios about them would tell nothing of a gateway between two eras.
Here, each asks what it always asks in the manner of the revision it is spoken to in. What asks nothing is untouched.

Run with the everything-server's folder on PYTHONPATH.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from mcp.server import ServerRequestContext
from mcp.server.mcpserver import Elicit, ElicitationResult, Resolve, Sample
from mcp.shared.message import ServerMessageMetadata
from mcp.types import (
    CallToolRequestParams,
    CreateMessageResult,
    ElicitResult,
    GetPromptRequestParams,
    InputRequest,
    InputRequiredResult,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from mcp_everything_server.server import EnumSchemasTestSchema, SEP1034DefaultsSchema, UserResponse, mcp

from tests.peers.servers.everything import main

ANSWERS: dict[str, Any] = {
    "elicitation/create": ElicitResult,
    "sampling/createMessage": CreateMessageResult,
    "roots/list": ListRootsResult,
}


def in_the_middle_of_the_call(handle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Has a legacy client answer what a handler's unfinished result asks, and calls the handler again."""

    async def handler(ctx: ServerRequestContext[Any], params: Any) -> Any:
        async def ask(request: InputRequest) -> Any:
            where = ServerMessageMetadata(related_request_id=ctx.request_id)
            return await ctx.session.send_request(request, ANSWERS[request.method], metadata=where)

        result = await handle(ctx, params)
        while isinstance(result, InputRequiredResult) and ctx.protocol_version < "2026":
            asked = result.input_requests or {}
            answers = dict(zip(asked, await asyncio.gather(*map(ask, asked.values())), strict=True))
            echoed = {"input_responses": answers, "request_state": result.request_state}
            result = await handle(ctx, params.model_copy(update=echoed))
        return result

    return handler


def ask_model(prompt: str) -> Sample:
    return Sample([SamplingMessage(role="user", content=TextContent(type="text", text=prompt))], max_tokens=100)


def ask_user(message: str) -> Elicit[UserResponse]:
    return Elicit(message, UserResponse)


def ask_with_defaults() -> Elicit[SEP1034DefaultsSchema]:
    return Elicit("Please provide user information", SEP1034DefaultsSchema)


def ask_with_choices() -> Elicit[EnumSchemasTestSchema]:
    return Elicit("Please select values using different enum schema types", EnumSchemasTestSchema)


def told(answer: ElicitationResult[Any]) -> str:
    content = answer.data.model_dump_json() if answer.action == "accept" else "{}"
    return f"action={answer.action}, content={content}"


async def test_sampling(prompt: str, answer: Annotated[CreateMessageResult, Resolve(ask_model)]) -> str:
    """Tests sampling, asked through a resolver"""
    return f"LLM response: {answer.content.text}" if answer.content.type == "text" else "No response"


async def test_elicitation(message: str, answer: Annotated[ElicitationResult[UserResponse], Resolve(ask_user)]) -> str:
    """Tests elicitation, asked through a resolver"""
    return f"User response: {told(answer)}"


async def test_elicitation_sep1034_defaults(
    answer: Annotated[ElicitationResult[SEP1034DefaultsSchema], Resolve(ask_with_defaults)],
) -> str:
    """Tests elicitation with default values (SEP-1034), asked through a resolver"""
    return f"Elicitation result: {told(answer)}"


async def test_elicitation_sep1330_enums(
    answer: Annotated[ElicitationResult[EnumSchemasTestSchema], Resolve(ask_with_choices)],
) -> str:
    """Tests elicitation with kinds of choices (SEP-1330), asked through a resolver"""
    return f"Elicitation completed: {told(answer)}"


def ask_in_either_era() -> None:
    """Changes the server's tools that ask; the SDK lets its resolvers choose the manner for tools that use them."""
    for tool in (
        test_sampling,
        test_elicitation,
        test_elicitation_sep1034_defaults,
        test_elicitation_sep1330_enums,
    ):
        mcp.remove_tool(tool.__name__)
        mcp.add_tool(tool)
    server = mcp._lowlevel_server
    call = in_the_middle_of_the_call(mcp._handle_call_tool)
    server.add_request_handler("tools/call", CallToolRequestParams, call)
    prompt = in_the_middle_of_the_call(mcp._handle_get_prompt)
    server.add_request_handler("prompts/get", GetPromptRequestParams, prompt)


if __name__ == "__main__":
    ask_in_either_era()
    main()
