"""From a request to its operation and back: paths, methods, query parameters, conditions, problems.

Knows HTTP and the route table's columns; knows nothing of any object.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metamcp_asgi.admin.api import body, problem
from metamcp_asgi.admin.api.operation import Ask, Operation, Reply, entity_tag
from metamcp_asgi.admin.api.problem import Fault, Problem, problem_of, sentence
from metamcp_asgi.config.node import nearest
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.store.errors import Busy

__all__ = ["Answering", "Resource", "routed"]

logger = logging.getLogger("metamcp.admin")

_encode = msgspec.json.Encoder(uuid_format="canonical").encode
Asked: TypeAlias = Callable[[Scope], Awaitable[Ask]]
Value = TypeVar("Value")

PATIENCE: Final = 15.0
"""Seconds that the work for one request may take; a database that stands still says nothing, and so nothing fails."""


class Resource:
    """The operations of one path, by their methods.

    Args:
        operations: The operations.
        asked: Admits a request; the rest of the ``Ask`` is filled in here.
        max_body: Bytes that a body may have.
    """

    def __init__(self, operations: Iterable[Operation], asked: Asked, max_body: int) -> None:
        self._operations = {operation.method: operation for operation in operations}
        if "GET" in self._operations:
            self._operations["HEAD"] = self._operations["GET"]
        self._allow = ", ".join(self._operations).encode()
        self._asked = asked
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        operation = self._operations.get(scope["method"])
        # Before the method is looked at, so that strangers learn nothing.
        ask = await _in_time(self._asked(scope))
        if operation is None:
            detail = f"This path takes {self._allow.decode()}."
            raise Problem(405, detail, headers=[(b"allow", self._allow)])
        conditions = [value for name, value in scope["headers"] if name == b"if-match"]
        ask = msgspec.structs.replace(
            ask,
            ids=scope["path_params"],
            query=_query(scope, operation),
            condition=b",".join(conditions).decode("latin-1") if conditions else None,
            accept=b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1"),
        )
        if operation.conditional:
            ask.version  # noqa: B018 - it must be there and well-formed, even where the object isn't
        if operation.takes is None:
            reply = await _in_time(operation.run(ask))
        elif operation.raw:
            text = await body.text(scope, receive, self._max_body, operation.raw)
            reply = await _in_time(operation.run(ask, text))
        else:
            given = body.decode(await body.read(scope, receive, self._max_body), operation.takes)
            reply = await _in_time(operation.run(ask, given))
        await _send_reply(scope, send, operation, ask, reply)


class Answering:
    """Answer with a problem document what the application inside raises, unless it has begun to answer itself.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request.

        Raises:
            Exception: What went wrong after the answer had begun; the host's server ends the connection then, so that
                nobody takes a part for the whole.
        """
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except MetaMCPError as error:
            if begun:
                raise
            found = problem_of(error)
            if found.status >= 500:
                logger.error("%s %s: %s", scope["method"], scope["path"], error)
            await _send(scope, send, found.status, found.document(), problem.CONTENT_TYPE, found.headers)
        except Exception:
            if begun:
                raise
            # A defect of ours, of which nothing goes to the client.
            logger.exception("%s %s failed", scope["method"], scope["path"])
            found = Problem(500, "An internal error; the gateway's log has more.")
            await _send(scope, send, 500, found.document(), problem.CONTENT_TYPE)


def routed(operations: Sequence[Operation], asked: Asked, max_body: int) -> ASGIApp:
    """Return the application that serves a route table.

    Args:
        operations: The table.
        asked: Admits a request, or raises a ``Problem``.
        max_body: Bytes that a body may have.
    """
    paths: dict[str, list[Operation]] = {}
    for operation in operations:
        paths.setdefault(operation.path, []).append(operation)
    routes = [Route(path, Resource(those, asked, max_body)) for path, those in paths.items()]

    async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        await _in_time(asked(scope))
        raise Problem(404, "Nothing is served at this path; openapi.json describes what is.")

    router = Router(routes, redirect_slashes=False, default=elsewhere)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if "\0" in scope["path"]:  # no database takes it, and no name has it
            await elsewhere(scope, receive, send)
        else:
            await router(scope, receive, send)

    return app


async def _in_time(work: Awaitable[Value]) -> Value:
    """Return what comes of the work for a request.

    Raises:
        Busy: It takes too long.
    """
    try:
        async with asyncio.timeout(PATIENCE):
            return await work
    except TimeoutError:
        raise Busy(f"the database has not answered within {PATIENCE:g} seconds") from None


def _query(scope: Scope, operation: Operation) -> Mapping[str, Any]:
    known = {parameter.name: parameter for parameter in operation.query}
    found = {name: parameter.default for name, parameter in known.items()}
    seen: set[str] = set()
    for name, text in parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True):
        if name not in known:
            near = nearest(name, known)
            raise _wrong(name, "is not a parameter here" + (f'; did you mean "{near}"?' if near else ""))
        if name in seen:
            raise _wrong(name, "is given twice")
        seen.add(name)
        try:
            found[name] = msgspec.convert(text, known[name].kind, strict=False)
        except msgspec.ValidationError as error:
            reason = str(error)
            raise _wrong(name, reason[:1].lower() + reason[1:]) from None
    return found


def _wrong(name: str, reason: str) -> Problem:
    return Problem(422, sentence(f"{name[:100]}: {reason}"), [Fault(reason, parameter=name[:100])])


async def _send_reply(scope: Scope, send: Send, operation: Operation, ask: Ask, reply: Reply) -> None:
    headers: list[tuple[bytes, bytes]] = []
    if reply.location is not None:
        headers.append((b"location", f"{ask.base}{reply.location}".encode()))
    if reply.next is not None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        headers.append((b"link", f'<{ask.next_page(path, reply.next)}>; rel="next"'.encode()))
    if reply.version is not None:
        tag = entity_tag(reply.version)
        headers.append((b"etag", tag))
        known = b",".join(value for name, value in scope["headers"] if name == b"if-none-match")
        if operation.method == "GET" and tag in (each.strip() for each in known.split(b",")):
            await _send(scope, send, 304, None, None, headers)
            return
    if operation.gives is None:
        await _send(scope, send, 204, None, None, headers)
    else:
        content = reply.body if isinstance(reply.body, bytes) else _encode(reply.body)
        await _send(scope, send, operation.status, content, reply.kind.encode(), headers)


async def _send(
    scope: Scope,
    send: Send,
    status: int,
    content: bytes | None,
    kind: bytes | None,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    described = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), *headers]
    if content is not None and kind is not None:
        described += [(b"content-type", kind), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": status, "headers": described})
    await send({"type": "http.response.body", "body": b"" if content is None or scope["method"] == "HEAD" else content})
