"""What an operation of the API is: one row of the route table, the request it gets and the reply it gives.

The route table is the only description: routing, checks and the OpenAPI document come from it. Knows of HTTP what a
condition (RFC 9110 13.1) and a page are; knows nothing of any object.
"""

import base64
import math
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct

from metamcp_asgi.admin.api.problem import Fault, Problem
from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.lines.lines import Lines
from metamcp_asgi.metrics.history import History
from metamcp_asgi.registry.client import Registry
from metamcp_asgi.store.policy import Acting
from metamcp_asgi.store.repository import Store

__all__ = [
    "AFTER",
    "LIMIT",
    "PAGED",
    "SECRETS",
    "WORDS",
    "Ask",
    "Operation",
    "Parameter",
    "Recent",
    "Reply",
    "entity_tag",
    "page_of",
    "searching",
]

_TAG: Final = re.compile(r'(W/)?"([^"]*)"')
Item = TypeVar("Item")


class Parameter(Struct, frozen=True):
    """A query parameter; ``kind`` is the type that its text is read as."""

    name: str
    kind: Any
    summary: str
    default: Any = None


LIMIT: Final = Parameter("limit", Annotated[int, Meta(ge=1, le=200)], "How many items a page has at most.", 50)
AFTER: Final = Parameter("after", Annotated[str, Meta(max_length=2000)], "The `next` of the page before.")
PAGED: Final = (LIMIT, AFTER)
WORDS: Final = Annotated[str, Meta(max_length=200, pattern=r"^[^\0]*$")]
"""What is searched for; PostgreSQL takes no NUL."""
SECRETS: Final = Parameter("secrets", str, "`include`: show secrets, too; for keys of admins.")


class Reply(Struct, frozen=True, kw_only=True):
    """What came of an operation.

    Args:
        body: What is encoded as JSON; ``None`` for no content.
        version: The object's version, for its entity tag.
        location: The path of what was made, below the API's own.
        next: Where the next page begins.
        kind: The media type of ``body``; where that is bytes, they are sent as they are.
    """

    body: Any = None
    version: int | str | None = None
    location: str | None = None
    next: str | None = None
    kind: str = "application/json"


class Recent(Struct, frozen=True):
    """What a running gateway keeps of what happens: the last lines, and samples of the numbers."""

    lines: Lines
    history: History


class Ask(Struct, frozen=True, kw_only=True):
    """One request, admitted and decoded.

    Args:
        store: The store.
        aggregator: What runs; ``None``: nothing does, as on the command line.
        caller: Who asks.
        ids: The parts of the path: UUIDs, or the name of a tool.
        query: The query parameters that the operation has, with their defaults.
        condition: The value of ``If-Match``.
        accept: The value of ``Accept``.
        base: The path under which the API is mounted, as clients see it.
        recent: What is kept of what happens; there for what is ``running``.
        registry: The MCP registry in which servers are looked for; there for what is ``running``.
        counting: Counts what has a limit; ``None``: nobody does, as on the command line.
    """

    store: Store
    aggregator: Aggregator | None
    caller: Acting
    ids: Mapping[str, Any] = {}
    query: Mapping[str, Any] = {}
    condition: str | None = None
    accept: str = ""
    base: str = ""
    recent: Recent | None = None
    registry: Registry | None = None
    counting: Counting | None = None

    async def count(self, what: str, most: int, seconds: float) -> None:
        """Count one time that the caller does something.

        Args:
            what: What has this limit.
            most: How often they may do it in ``seconds``.
            seconds: The time.

        Raises:
            Problem: It is one too many (429).
        """
        if self.counting is None:
            return
        if wait := await self.counting.wait("management", f"{what} {self.caller.id}", most, seconds):
            headers = [(b"retry-after", str(math.ceil(wait)).encode())]
            raise Problem(429, "Too many attempts. Try again later.", headers=headers)

    @property
    def id(self) -> uuid.UUID:
        """The id of the object that is asked for."""
        identity: uuid.UUID = self.ids["id"]
        return identity

    @property
    def version(self) -> int | None:
        """The version that ``If-Match`` names; ``None`` for ``*``, which stands for any."""
        tag = self.tag
        if tag is None:
            return None
        # A weak tag never matches here (RFC 9110 13.1.1), nor one that we did not make.
        return int(tag) if re.fullmatch(r"[0-9]{1,18}", tag) else -1

    @property
    def tag(self) -> str | None:
        """The entity tag of ``If-Match`` without its quotes; ``None`` for ``*``.

        Raises:
            Problem: It is missing (428), or not one tag (400).
        """
        if self.condition is None:
            raise Problem(428, "If-Match is required: send the ETag of the object as you read it.")
        condition = self.condition.strip()
        if condition == "*":
            return None
        found = _TAG.fullmatch(condition)
        if found is None:
            raise Problem(400, 'If-Match must be one entity tag, such as "3", or *.')
        return "" if found[1] else found[2]

    def check(self, current: int | str) -> None:
        """Compare ``If-Match`` with the present version of what has no row of its own.

        Raises:
            Problem: It has changed (412), or the condition is missing or malformed.
        """
        if self.tag not in (None, str(current)):
            raise Problem(412, "It was changed by somebody else in the meantime; read it again.")

    def after(self, *kinds: Any) -> tuple[Any, ...] | None:
        """Return the place after which a page begins.

        Args:
            kinds: The types of its parts.

        Raises:
            Problem: ``after`` did not come from us (422).
        """
        text = self.query.get("after")
        if text is None:
            return None
        reason = "must be the `next` of a page before"
        foreign = Problem(422, f"after: {reason}.", [Fault(reason, parameter="after")])
        try:
            decoded = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
            place: tuple[Any, ...] = msgspec.json.decode(decoded, type=tuple.__class_getitem__(kinds))
        except (ValueError, msgspec.MsgspecError):
            raise foreign from None
        if any(isinstance(part, str) and "\0" in part for part in place):  # which PostgreSQL does not take
            raise foreign
        return place

    @property
    def limit(self) -> int:
        """How many items the page may have."""
        limit: int = self.query["limit"]
        return limit

    @property
    def search(self) -> str | None:
        """The text that is searched for (``searching``); ``None``: none is."""
        return (self.query["search"] or "").strip() or None

    def next_page(self, path: str, cursor: str) -> str:
        """Return the URL reference of the next page."""
        query = {name: value for name, value in self.query.items() if value is not None} | {"after": cursor}
        return f"{self.base}{path}?{urlencode(query)}"


class Operation(Struct, frozen=True, kw_only=True):
    """One row of the route table.

    Args:
        method: The HTTP method.
        path: Starlette's form of the path, below the API's own.
        name: The ``operationId``.
        summary: One line for people.
        run: Does it; gets the request, and its body where there is one.
        takes: The type of the body.
        gives: The type of the answer's body; ``None``: none.
        status: The status when it went well.
        conditional: Whether ``If-Match`` is required.
        query: The query parameters.
        running: Whether it is about what runs, so that only a process that serves can answer it.
        raw: The media types of a body that ``run`` gets as its ``Text``, undecoded, because it is a document of its
            own; ``takes`` then only describes it.
        kinds: The media types that the answer may have.
    """

    method: str
    path: str
    name: str
    summary: str
    run: Callable[..., Awaitable[Reply]]
    takes: Any = None
    gives: Any = None
    status: int = 200
    conditional: bool = False
    query: Sequence[Parameter] = ()
    running: bool = False
    raw: Sequence[str] = ()
    kinds: Sequence[str] = ("application/json",)


def page_of(
    items: Sequence[Item], limit: int, place: Callable[[Item], tuple[Any, ...]]
) -> tuple[Sequence[Item], str | None]:
    """Return the items of a page, and where the next one begins, if there is one.

    Args:
        items: One more than ``limit``, if there are as many.
        limit: How many the page may have.
        place: Tells an item's place in the order.
    """
    if len(items) <= limit:
        return items, None
    shown = items[:limit]
    cursor = base64.urlsafe_b64encode(msgspec.json.encode(place(shown[-1]))).rstrip(b"=")
    return shown, cursor.decode()


def searching(what: str) -> Parameter:
    """Return the parameter of a list that can be searched, of which ``Ask.search`` is the value.

    Args:
        what: Where the text is looked for: ``name or description``.
    """
    return Parameter("search", WORDS, f"Only what has this text in its {what}, in capitals or not.")


def entity_tag(version: int | str) -> bytes:
    """Return the strong entity tag of a version."""
    return f'"{version}"'.encode()
