"""What the pages do: operations of the management API, in the name of who is signed in.

So a page can do nothing that the API can't, and decides nothing itself. Knows the route table and what a form is told
when something is refused; knows nothing of any object, nor of how a page looks.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.types import Scope

from metamcp_asgi.admin.api.application import OPERATIONS
from metamcp_asgi.admin.api.body import Text, decode
from metamcp_asgi.admin.api.operation import Ask, Operation, Recent, Reply, entity_tag
from metamcp_asgi.admin.api.problem import Problem, problem_of
from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.registry.client import Registry
from metamcp_asgi.signin.people import person
from metamcp_asgi.store.repository import Store

__all__ = ["Desk", "Refused"]

_OPERATIONS: Final[Mapping[str, Operation]] = {operation.name: operation for operation in OPERATIONS}
_CORRECTABLE: Final = (409, 412, 422)


class Refused(Fault):
    """An operation that was refused, in the API's words.

    Args:
        problem: Why.
    """

    def __init__(self, problem: Problem) -> None:
        headers = {name.decode(): value.decode() for name, value in problem.headers}
        super().__init__(problem.status, problem.detail, headers)
        self.fields = {fault.pointer: fault.detail for fault in problem.errors if fault.pointer is not None}
        """What is wrong with each field, by its JSON pointer in the body: ``/name``."""

    @property
    def correctable(self) -> bool:
        """Whether the person can do something about it in the form that they sent."""
        return self.status in _CORRECTABLE

    @property
    def page_status(self) -> int:
        """The status of a page that shows the form again: 409 for what somebody else was faster with, else 422."""
        return 409 if self.status in (409, 412) else 422


class Desk:
    """Carries out operations.

    Args:
        store: Gives the open store.
        aggregator: What runs.
        reload: Has what runs know what has just been written.
        recent: What is kept of what happens.
        registry: The MCP registry in which servers are looked for.
        counting: Counts what has a limit.
    """

    def __init__(
        self,
        store: Callable[[], Awaitable[Store]],
        aggregator: Aggregator,
        reload: Callable[[], Awaitable[object]],
        recent: Recent,
        registry: Registry,
        counting: Counting,
    ) -> None:
        self.store = store
        self.aggregator = aggregator
        self.reload = reload
        self.recent = recent
        self.registry = registry
        self._counting = counting

    async def ask(
        self,
        scope: Scope,
        name: str,
        body: Mapping[str, Any] | Text | None = None,
        *,
        ids: Mapping[str, Any] | None = None,
        query: Mapping[str, Any] | None = None,
        version: int | str | None = None,
    ) -> Reply:
        """Carry out an operation, as the person who is signed in, and return what came of it.

        Args:
            scope: The request for the page.
            name: The operation's name: ``updateServer``.
            body: What it takes, with the names of the API's JSON.
            ids: The parts of its path.
            query: Its query parameters, texts being read as in a URL; those left out, ``None`` or
                empty have their defaults.
            version: That of the object as the person saw it; ``None``: whichever there is.

        Raises:
            Refused: It was refused.
        """
        operation = _OPERATIONS[name]
        if any("\0" in part for part in (ids or {}).values() if isinstance(part, str)):
            raise Refused(Problem(404, "There is nothing of this name."))
        try:
            ask = Ask(
                store=await self.store(),
                aggregator=self.aggregator,
                caller=person(scope).acting,
                ids=ids or {},
                query=_query(operation, query or {}),
                recent=self.recent,
                registry=self.registry,
                counting=self._counting,
                condition="*" if version is None else entity_tag(version).decode(),
            )
            return await operation.run(ask, *_given(operation, body))
        except Fault:
            raise
        except MetaMCPError as error:
            raise Refused(problem_of(error)) from error

    async def all(self, scope: Scope, name: str, query: Mapping[str, Any] | None = None) -> list[Any]:
        """Return all items of a list, which is read page by page; arguments and errors are those of ``ask``."""
        items: list[Any] = []
        after: str | None = None
        while True:
            page = (await self.ask(scope, name, query={"limit": 200, **(query or {}), "after": after})).body
            items += page.items
            after = page.next
            if after is None:
                return items


def _given(operation: Operation, body: Mapping[str, Any] | Text | None) -> tuple[Any, ...]:
    if operation.takes is None:
        return ()
    return (body,) if isinstance(body, Text) else (decode(msgspec.json.encode(body or {}), operation.takes),)


def _query(operation: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    values = {parameter.name: parameter.default for parameter in operation.query}
    kinds = {parameter.name: parameter.kind for parameter in operation.query}
    for name, value in given.items():
        if value is None or value == "":
            continue
        try:
            values[name] = msgspec.convert(value, kinds[name], strict=False)
        except msgspec.ValidationError as error:
            raise Problem(422, f"{name}: {error}.") from None
    return values
