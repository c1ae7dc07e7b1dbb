"""A connection whose two directions fail one after the other, as those of HTTP+SSE do when the server is killed."""

import asyncio
import gc
from typing import Any

import pytest

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.upstream.channel import Channel
from metamcp_asgi.upstream.request import Terms


async def test_a_stream_that_ends_while_a_request_cannot_be_sent_leaves_no_error_that_nobody_sees() -> None:
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unseen.append(context))

    async def send(line: bytes) -> None:
        channel.closed("closed its event stream")
        raise UpstreamUnavailable("broke the connection before it answered")

    channel = Channel(send, lambda method, params: None, Terms())
    with pytest.raises(UpstreamUnavailable, match="broke the connection"):
        await channel.call("ping", b"{}")
    gc.collect()
    assert unseen == []
    await channel.aclose()
