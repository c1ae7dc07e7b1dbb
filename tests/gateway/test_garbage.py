"""What a call leaves behind in memory: nothing that waits for the garbage collector."""

import gc
import weakref
from typing import Any

import pytest

from tests.gateway.client import modern_request
from tests.gateway.running import gateway_over
from tests.gateway.upstreams.raw import RawServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Request:
    """The body of a request and what is answered, as a server's connection holds them."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.status = 0

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": self.body, "more_body": False}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)


async def test_a_call_is_freed_as_soon_as_it_is_answered() -> None:
    """A cycle that holds it would keep its body, up to megabytes, for hundreds of calls."""
    headers, body = modern_request("tools/call", {"name": "raw__echo", "arguments": {"text": "x"}})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/metamcp/open/mcp",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [
            (b"host", b"127.0.0.1"),
            *((n.lower().encode(), v.encode() if isinstance(v, str) else v) for n, v in headers),
        ],
    }
    async with gateway_over({"raw": RawServer()}) as running:
        gc.collect()
        gc.disable()
        try:
            request = Request(body)
            await running.gateway(dict(scope), request.receive, request.send)
            assert request.status == 200
            gone = weakref.ref(request)
            del request
            assert gone() is None
        finally:
            gc.enable()
