"""One request against an ASGI application in memory, with nothing between the test and the scope."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    scope: Mapping[str, Any]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Inner:
    """A plain application that remembers the scopes it saw and answers with the prepared messages of a proxy."""

    START: ClassVar[dict[str, Any]] = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/plain")],
    }

    def __init__(self) -> None:
        self.scopes: list[Any] = []

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send(self.START)
            await send({"type": "http.response.body", "body": b"inner"})
            assert self.START["headers"] == [(b"content-type", b"text/plain")], "a layer changed a shared message"


async def ask(
    app,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
    query: bytes = b"",
    client: tuple[str, int] | None = ("192.0.2.1", 40000),
    **more: Any,
) -> Answer:
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "root_path": "",
        "query_string": query,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
        "client": client,
        **more,
    }
    messages: list[Any] = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        messages.append(message)

    await app(scope, receive, send)
    start, *rest = messages
    answered = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    assert len(answered) == len(start["headers"]), "a header was sent twice"
    return Answer(start["status"], answered, b"".join(message["body"] for message in rest), scope)
