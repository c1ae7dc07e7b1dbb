"""The two ways of the commands to what they manage: a store at hand, and a gateway that runs somewhere.

Both carry out one operation of the management API and give what the API answers. Knows the route table's columns and
HTTP; knows nothing of any object, nor of what is printed.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from msgspec import Struct

from metamcp_asgi.admin.api.application import PREFIX
from metamcp_asgi.admin.api.body import decode
from metamcp_asgi.admin.api.operation import Ask, Operation, entity_tag
from metamcp_asgi.admin.api.problem import CONTENT_TYPE, Fault, problem_of
from metamcp_asgi.errors import ConfigError, MetaMCPError, UpstreamTimeout
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.repository import Store
from metamcp_asgi.upstream.http1 import HTTPClient, Response

__all__ = ["Answer", "Local", "Reach", "Refused", "Remote", "whole"]

PATIENCE: Final = 60.0
"""Seconds that a gateway may take to answer; it waits for a server for 10 seconds itself."""

LONGEST_PAGE: Final = 200
"""The items that one page has at most."""

_PART: Final = re.compile(r"\{(\w+):\w+\}")
_encode = msgspec.json.Encoder().encode


class Refused(MetaMCPError):
    """What was asked for cannot be done, in the API's words; ``status`` is its HTTP status."""

    def __init__(self, status: int, detail: str) -> None:
        self.status = status
        super().__init__(detail)


class Answer(Struct, frozen=True):
    """What an operation answers: its JSON, empty where there is none, and the entity tag of the object."""

    body: bytes
    tag: str | None = None


class Reach(Protocol):
    """A way to what is managed."""

    async def ask(
        self,
        operation: Operation,
        ids: Mapping[str, Any],
        *,
        query: Mapping[str, Any] = {},
        body: bytes | None = None,
        condition: str | None = None,
    ) -> Answer:
        """Carry out an operation.

        Args:
            operation: The row of the route table.
            ids: The parts of its path.
            query: Its query parameters, those that are not ``None``.
            body: JSON, where it takes a body.
            condition: The value of ``If-Match``.

        Raises:
            Refused: It cannot be done.
            MetaMCPError: What is managed is out of reach.
        """
        ...


class Local:
    """The store at hand, managed as the operator at the machine; nothing runs here.

    Args:
        store: The open store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def ask(
        self,
        operation: Operation,
        ids: Mapping[str, Any],
        *,
        query: Mapping[str, Any] = {},
        body: bytes | None = None,
        condition: str | None = None,
    ) -> Answer:
        """Carry out an operation."""
        if operation.running:
            raise ConfigError(
                "only a running gateway can tell or do this: name one with --url http://host:12008 (or METAMCP_URL), "
                "and give its key in METAMCP_API_KEY"
            )
        values = {parameter.name: parameter.default for parameter in operation.query}
        kinds = {parameter.name: parameter.kind for parameter in operation.query}
        for name, value in query.items():
            try:
                values[name] = msgspec.convert(value, kinds[name], strict=False)
            except msgspec.ValidationError as error:
                raise Refused(422, f"{name}: {error}") from None
        ask = Ask(store=self._store, aggregator=None, caller=COMMAND_LINE, ids=ids, query=values, condition=condition)
        try:
            given = () if operation.takes is None else (decode(body or b"", operation.takes),)
            reply = await operation.run(ask, *given)
        except MetaMCPError as error:
            # The error itself says more to the operator than the problem that a stranger gets.
            problem = problem_of(error)
            raise Refused(problem.status, _worded(str(error), problem.errors)) from error
        return Answer(
            b"" if operation.gives is None else _encode(reply.body),
            None if reply.version is None else entity_tag(reply.version).decode(),
        )


class Remote:
    """A running gateway, managed over HTTP as the owner of a key.

    Args:
        url: Where it is: ``http://127.0.0.1:12008``, with the path under which it is mounted, if there is one.
        key: An admin-scoped API key.

    Raises:
        ConfigError: The URL, or the key, cannot be one.
    """

    def __init__(self, url: str, key: str) -> None:
        if urlsplit(url).query or urlsplit(url).fragment:
            raise ConfigError("is the address of a gateway, such as http://127.0.0.1:12008", path="--url")
        self.url = url.rstrip("/").removesuffix(PREFIX)
        self._client = HTTPClient()
        self._headers = (("Authorization", f"Bearer {key}"), ("Accept", "application/json"))
        # Kept, so that the connection is: it belongs to whoever has a target there.
        self._root = self._client.target(self.url + PREFIX, self._headers)

    async def ask(
        self,
        operation: Operation,
        ids: Mapping[str, Any],
        *,
        query: Mapping[str, Any] = {},
        body: bytes | None = None,
        condition: str | None = None,
    ) -> Answer:
        """Carry out an operation."""
        path = _PART.sub(lambda part: quote(str(ids[part[1]]), safe=""), operation.path)
        search = f"?{urlencode(query)}" if query else ""
        target = self._client.target(f"{self.url}{PREFIX}{path}{search}", self._headers)
        headers = b"" if condition is None else f"If-Match: {condition}\r\n".encode()
        if body is not None:
            headers += b"Content-Type: application/json\r\n"
        elif operation.method == "POST":
            body = b""
        try:
            async with asyncio.timeout(PATIENCE):
                response = await self._client.send(target, operation.method.encode(), headers, body)
        except TimeoutError:
            raise UpstreamTimeout(f"{self.url} did not answer within {PATIENCE:g} seconds") from None
        return self._answer(operation, response)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _answer(self, operation: Operation, response: Response) -> Answer:
        kind = (response.header(b"content-type") or b"").partition(b";")[0].strip().lower()
        if kind == CONTENT_TYPE:
            problem = msgspec.json.decode(response.body, type=_Problem)
            raise Refused(response.status, _worded(problem.detail, problem.errors))
        wanted = b"" if operation.gives is None else b"application/json"
        if response.status != operation.status or kind != wanted:
            response.close()
            reason = f"{self.url} answers {response.status} where a gateway has its management API"
            raise Refused(response.status, f"{reason}; one that serves a file has none")
        tag = response.header(b"etag")
        return Answer(response.body, None if tag is None else tag.decode("latin-1"))


class _Problem(Struct):
    detail: str
    errors: list[Fault] = []


def _worded(detail: str, faults: Sequence[Fault]) -> str:
    """Return a problem in words: what is wrong with each field, by its own name, where fields are wrong."""
    places = [(fault.pointer or fault.parameter or "").lstrip("/") for fault in faults]
    told = [f"{place}: {fault.detail}" for place, fault in zip(places, faults, strict=True)]
    return "; ".join(told) if all(places) and told else detail


async def whole(
    reach: Reach,
    operation: Operation,
    ids: Mapping[str, Any],
    *,
    query: Mapping[str, Any] = {},
    limit: int | None = None,
) -> dict[str, Any]:
    """Return a list as if it were one page.

    Args:
        reach: Where to.
        operation: A list that comes in pages.
        ids: The parts of its path.
        query: Its query parameters but ``limit``.
        limit: How many items are wanted; ``None``: all.

    Returns:
        The last page, with the items of all; its ``next`` is null when there are no more.
    """
    items: list[Any] = []
    asked = dict(query)
    while True:
        missing = LONGEST_PAGE if limit is None else min(LONGEST_PAGE, limit - len(items))
        answer = await reach.ask(operation, ids, query={**asked, "limit": missing})
        page: dict[str, Any] = msgspec.json.decode(answer.body)
        items += page["items"]
        if page["next"] is None or len(items) == limit:
            return {**page, "items": items}
        asked["after"] = page["next"]
