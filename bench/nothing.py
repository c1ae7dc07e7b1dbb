"""The application that does nothing: the floor under everything that an ASGI application can cost.

It gives the same bytes to every request, and does not read what the request says.
"""

from typing import Any


class Nothing:
    """An ASGI application with one answer.

    Args:
        body: The answer's JSON.
    """

    def __init__(self, body: bytes) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        self._start = {"type": "http.response.start", "status": 200, "headers": headers}
        self._body = {"type": "http.response.body", "body": body}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(self._start)
        await send(self._body)
