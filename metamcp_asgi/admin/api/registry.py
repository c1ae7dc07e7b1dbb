"""Servers that an MCP registry lists: searched, told with the ways in which they can be had here, and added."""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from metamcp_asgi.admin.api.operation import Ask, Operation, Parameter, Reply, searching
from metamcp_asgi.admin.api.problem import Fault, Problem, pointer_to, sentence
from metamcp_asgi.admin.api.shapes import Page, Server, Shape
from metamcp_asgi.registry import ways
from metamcp_asgi.registry.client import Registry, RegistryFailed
from metamcp_asgi.registry.listed import Listed
from metamcp_asgi.store.services import servers
from metamcp_asgi.store.services.inputs import NewServer

__all__ = ["OPERATIONS"]

PER_MINUTE = 60
"""How often one person may have us ask a registry."""
_Cursor = Annotated[str, Meta(max_length=1000)]
_LIMIT: Final = Parameter("limit", Annotated[int, Meta(ge=1, le=100)], "How many items a page has at most.", 20)
_NAME: Final = Parameter("name", Annotated[str, Meta(min_length=1, max_length=200)], "Its name in the registry.")
_VERSION: Final = Parameter(
    "version", Annotated[str, Meta(min_length=1, max_length=255)], "Its version there.", "latest"
)


class Asked(Shape, frozen=True, kw_only=True, rename="camel"):
    """What a server has to be given, or may be."""

    key: str
    label: str
    description: str
    required: bool
    secret: bool
    default: str
    placeholder: str
    choices: Sequence[str]


class Fixed(Shape, frozen=True, kw_only=True, rename="camel"):
    """A variable or header with what the publisher says is in it."""

    name: str
    value: str


class Way(Shape, frozen=True, kw_only=True, rename="camel"):
    """One way to have a server: ``shown`` is the command or URL; with an ``obstacle``, it cannot be had here.

    ``fixed`` has the variables and headers that it gets whatever is answered.
    """

    id: str
    kind: str
    place: str
    type: str
    shown: str
    obstacle: str
    fixed: Sequence[Fixed]
    questions: Sequence[Asked]

    @classmethod
    def of(cls, way: ways.Way) -> "Way":
        """Return a way as it is shown."""
        asked = [msgspec.convert(each, Asked, from_attributes=True) for each in way.questions]
        shown = "" if way.obstacle else way.shown
        kept = {name: getattr(way, name) for name in ("id", "kind", "place", "type", "obstacle")}
        fixed = [Fixed(name=name, value=value) for name, value in way.fixed]
        return cls(**kept, shown=shown, fixed=fixed, questions=asked)


class RegistryServer(Shape, frozen=True, kw_only=True, rename="camel"):
    """A server as a registry lists it."""

    name: str
    title: str
    description: str
    version: str
    status: str
    website_url: str | None
    repository_url: str | None
    ways: Sequence[Way]

    @classmethod
    def of(cls, listed: Listed) -> "RegistryServer":
        """Return a server as it is shown."""
        return cls(
            name=listed.name,
            title=listed.title or "",
            description=listed.description,
            version=listed.version,
            status=listed.status,
            website_url=_linked(listed.website_url),
            repository_url=_linked(listed.repository.url if listed.repository is not None else None),
            ways=[Way.of(way) for way in ways.ways_of(listed)],
        )


class RegistryPage(Page, frozen=True, kw_only=True, rename="camel"):
    """A page of what a registry lists."""

    items: Sequence[RegistryServer]


class NewRegistryServer(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A server to be added from the registry: what is listed, in which way, and the answers to what that asks."""

    listed: Annotated[str, Meta(min_length=1, max_length=200, description="Its name in the registry.")]
    version: Annotated[str, Meta(min_length=1, max_length=255, description="Its version there.")]
    way: Annotated[str, Meta(max_length=100, description="The `id` of one of its ways.")]
    name: str
    answers: dict[str, Annotated[str, Meta(max_length=20_000)]] = {}
    description: str | UnsetType = UNSET
    owner_id: uuid.UUID | None | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"NewRegistryServer(listed={self.listed!r}, way={self.way!r}, <hidden>)"


async def _search(ask: Ask) -> Reply:
    registry = await _registry(ask)
    try:
        page = await registry.search(ask.search or "", after=ask.query["after"], limit=ask.limit)
    except RegistryFailed as error:
        raise _problem(error) from None
    items = [RegistryServer.of(listed) for listed in page.servers]
    return Reply(body=RegistryPage(items=items, next=page.following), next=page.following)


async def _get(ask: Ask) -> Reply:
    if ask.query["name"] is None:
        raise Problem(422, "name: is required.", [Fault("is required", parameter="name")])
    return Reply(body=RegistryServer.of(await _listed(ask, ask.query["name"], ask.query["version"])))


async def _add(ask: Ask, given: NewRegistryServer) -> Reply:
    listed = await _listed(ask, given.listed, given.version)
    way = next((way for way in ways.ways_of(listed) if way.id == given.way), None)
    if way is None or way.obstacle:
        reason = way.obstacle if way is not None else "must be the id of a way in which this server can be had"
        raise Problem(422, f"way: {reason}.", [Fault(reason, pointer=pointer_to("way"))])
    try:
        entry = way.entry(given.answers)
    except ways.WrongAnswer as error:
        fault = Fault(error.reason, pointer=pointer_to("answers", error.key))
        raise Problem(422, sentence(str(error)), [fault]) from None
    description = listed.description if given.description is UNSET else given.description
    new = NewServer(name=given.name, description=description, owner_id=given.owner_id, **entry)
    async with ask.store.write(ask.caller) as tx:
        row = await servers.create(tx, ask.caller, new)
        body = Server.of(row, tx.secrets(row))
    return Reply(body=body, version=row.version, location=f"/servers/{row.id}")


async def _listed(ask: Ask, name: str, version: str) -> Listed:
    registry = await _registry(ask)
    try:
        listed = await registry.server(name, version)
    except RegistryFailed as error:
        raise _problem(error) from None
    if listed.status == "deleted":
        raise Problem(404, "The registry does not list this server any more.")
    return listed


async def _registry(ask: Ask) -> Registry:
    """Return the registry, to be asked once.

    Raises:
        Problem: There is none (501), or the caller asks too often (429).
    """
    if ask.registry is None:
        raise Problem(501, "There is no registry here.")
    await ask.count("registry", PER_MINUTE, 60.0)
    return ask.registry


def _problem(error: RegistryFailed) -> Problem:
    return Problem(502 if error.found else 404, sentence(str(error)))


def _linked(url: Any) -> str | None:
    """Return a URL that a person may follow; a registry may list anything."""
    return url if isinstance(url, str) and url.startswith(("https://", "http://")) else None


OPERATIONS = (
    Operation(
        method="GET",
        path="/registry",
        name="searchRegistry",
        summary="List the servers in an MCP registry whose name has some words in it.",
        run=_search,
        gives=RegistryPage,
        query=(
            searching("name"),
            _LIMIT,
            Parameter("after", _Cursor, "The `next` of the page before."),
        ),
        running=True,
    ),
    Operation(
        method="GET",
        path="/registry/server",
        name="getRegistryServer",
        summary="Read what an MCP registry says of one server.",
        run=_get,
        gives=RegistryServer,
        query=(_NAME, _VERSION),
        running=True,
    ),
    Operation(
        method="POST",
        path="/registry/server",
        name="addRegistryServer",
        summary="Add a server that an MCP registry lists.",
        run=_add,
        takes=NewRegistryServer,
        gives=Server,
        status=201,
        running=True,
    ),
)
