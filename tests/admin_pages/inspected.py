"""Real servers of both eras behind a gateway with people: `modern` made with SDK 2, `legacy` with SDK 1.

Both are public, and so is the endpoint `lab`, which has `modern` and wants a key. Ada's `private` server nobody else
sees, nor her endpoint `hers`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from mcp.server.subscriptions import InMemorySubscriptionBus
from mcp_types import Completion, PromptReference
from pydantic import BaseModel, Field

from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.services import endpoints, namespaces, servers, users
from metamcp_asgi.store.services.inputs import Member, NewEndpoint, NewNamespace, NewServer
from tests.gateway.running import served
from tests.gateway.witness import Witness, witness_at
from tests.lab import modern
from tests.places import ROOT, client_python
from tests.processes import Program
from tests.signin.people import ADA, House, house

CITIES = ("Paris", "Prague", "Porto")


class Place(BaseModel):
    """Where something is."""

    city: str
    zip: int | None = None


class Laboratory(House):
    """A gateway with people, and the servers behind it."""

    ids: dict[str, str]
    witness: Witness
    modern: Any
    bus: InMemorySubscriptionBus

    def inspector(self, kind: Literal["server", "endpoint"], name: str) -> str:
        """Returns the address of the page that inspects something."""
        return f"{self.origin}/mcp-inspector?{kind}={self.ids[name]}"


def build(witness: Witness, bus: InMemorySubscriptionBus) -> Any:
    """Returns the modern server, which has a tool with arguments of each kind, and completes the prompt `greet`."""
    server = modern.build("modern", witness, bus)

    @server.tool()
    def order(
        what: str,
        count: int = Field(ge=1, le=9),
        weight: float = 1.5,
        gift: bool | None = None,
        colour: Literal["red", "green"] = "green",
        sizes: list[Literal["S", "M", "L"]] | None = None,
        notes: list[str] | None = None,
        to: Place | None = None,
        extra: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Orders something."""
        given = {"what": what, "count": count, "weight": weight, "gift": gift, "colour": colour, "sizes": sizes}
        return {**given, "notes": notes, "to": to and to.model_dump(), "extra": extra}

    @server.completion()
    async def complete(ref: Any, argument: Any, context: Any) -> Completion | None:
        if isinstance(ref, PromptReference) and argument.name == "who":
            return Completion(values=[city for city in CITIES if city.startswith(argument.value)])
        return None

    return server


@contextlib.asynccontextmanager
async def _legacy(folder: Path) -> AsyncIterator[str]:
    """Runs the legacy server; yields its URL."""
    command = [client_python("mcp-1.30.0"), "-m", "tests.lab.legacy", "legacy", folder / "witness", "http"]
    program = await asyncio.to_thread(Program, command, {"PYTHONPATH": str(ROOT)}, ROOT)
    try:
        yield (await asyncio.to_thread(program.wait_for_line, r"^ready (\S+)"))[1]
    finally:
        await asyncio.to_thread(program.stop)


async def _fill(home: House, urls: dict[str, str]) -> dict[str, str]:
    """Puts the servers and endpoints into the store, and returns their ids."""
    async with (await home.store()).write(COMMAND_LINE) as tx:
        ada = await users.by_email(tx, COMMAND_LINE, ADA)
        made: dict[str, Any] = {}
        for name, owner in (("modern", None), ("legacy", None), ("private", ada.id)):
            url = urls.get(name, urls["modern"])
            made[name] = await servers.create(tx, COMMAND_LINE, NewServer(name=name, url=url, owner_id=owner))
        for name, owner in (("lab", None), ("hers", ada.id)):
            member = Member(server_id=made["modern"].id)
            space = NewNamespace(name=name, servers=[member], owner_id=owner)
            namespace = await namespaces.create(tx, COMMAND_LINE, space)
            new = NewEndpoint(name=name, namespace_id=namespace.id, owner_id=owner)
            made[name] = await endpoints.create(tx, COMMAND_LINE, new)
        ids = {name: str(row.id) for name, row in made.items()}
    await home.gateway.reload()
    for catalogue in [*home.gateway.aggregator.catalogues.values()]:
        await catalogue.ready()
    return ids


@contextlib.asynccontextmanager
async def laboratory_in(folder: Path, **settings: Any) -> AsyncIterator[Laboratory]:
    """Runs the laboratory, with these settings of the gateway."""
    bus = InMemorySubscriptionBus()
    async with (
        witness_at(folder / "witness") as witness,
        _legacy(folder) as legacy,
        served((server := build(witness, bus)).streamable_http_app()) as port,
        house(f"sqlite:///{folder}/metamcp.db", **settings) as home,
    ):
        found = Laboratory(home.gateway, int(home.origin.rpartition(":")[2]), home.url)
        found.witness, found.modern, found.bus = witness, server, bus
        found.ids = await _fill(home, {"modern": f"http://127.0.0.1:{port}/mcp", "legacy": legacy})
        yield found
        await found.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def laboratory(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Laboratory]:
    """The laboratory for the tests of a module."""
    async with laboratory_in(tmp_path_factory.mktemp("inspected")) as running:
        yield running
