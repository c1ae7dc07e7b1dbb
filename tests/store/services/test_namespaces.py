"""What people do with namespaces, on both kinds of database."""

import uuid
from typing import Any

import pytest

from metamcp_asgi.aggregate.middleware.registry import instances
from metamcp_asgi.store.errors import Conflict, NotFound
from metamcp_asgi.store.models import Endpoint, Namespace
from metamcp_asgi.store.policy import COMMAND_LINE, Forbidden
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import namespaces
from metamcp_asgi.store.services.inputs import Invalid, Member, NamespaceChanges, NewNamespace
from tests.databases import SECRET
from tests.store.services.people import People


async def test_servers_keep_their_order_and_their_switches(people: People) -> None:
    rows = [await people.server(people.bob, name) for name in ("one", "two", "three")]
    listed = [Member(server_id=rows[2].id), Member(server_id=rows[0].id, active=False)]
    namespace = await people.do(namespaces.create, people.bob, NewNamespace(name="n", servers=listed))

    async def members() -> list[tuple[uuid.UUID, bool]]:
        async with people.store.read() as tx:
            found = await namespaces.places(tx, people.bob, namespace.id)
            return [(place.id, place.active) for place in found]

    assert await members() == [(rows[2].id, True), (rows[0].id, False)]
    listed = [Member(server_id=rows[0].id), Member(server_id=rows[1].id)]
    changed = await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(servers=listed))
    assert await members() == [(rows[0].id, True), (rows[1].id, True)]
    # Who read the list before holds an old version of the namespace.
    assert changed.version == 2
    await people.do(namespaces.switch_server, people.bob, namespace.id, rows[1].id, False)
    assert await members() == [(rows[0].id, True), (rows[1].id, False)]
    with pytest.raises(Conflict):
        await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(name="m"), version=2)
    with pytest.raises(NotFound):
        await people.do(namespaces.switch_server, people.bob, namespace.id, rows[2].id, False)


async def test_a_list_that_stays_the_same_makes_no_version(people: People) -> None:
    server = await people.server(people.bob, "one")
    namespace = await people.namespace(people.bob, "n", server)
    given = NamespaceChanges(servers=[Member(server_id=server.id)], name="n", prefix="always")
    assert (await people.do(namespaces.update, people.bob, namespace.id, given)).version == 1


async def test_a_public_namespace_has_public_servers_only(people: People) -> None:
    own = await people.server(people.ada, "own")
    with pytest.raises(Forbidden) as refused:
        await people.namespace(people.ada, "all", own, owner_id=None)
    assert refused.value.rule == "public-of-public"
    namespace = await people.namespace(people.ada, "mine", own)
    with pytest.raises(Forbidden):
        await people.do(namespaces.update, people.ada, namespace.id, NamespaceChanges(owner_id=None))


async def test_a_private_namespace_has_its_owners_and_public_servers(people: People) -> None:
    public = await people.server(people.ada, "public", owner_id=None)
    others, own = await people.server(people.eve, "eves"), await people.server(people.bob, "own")
    await people.namespace(people.bob, "mine", own, public)
    with pytest.raises(Invalid, match="does not exist") as refused:
        await people.namespace(people.bob, "stolen", own, others)
    assert refused.value.field == "servers[1].serverId"
    # An admin sees it, and may not give it to somebody else either.
    with pytest.raises(Forbidden) as forbidden:
        await people.namespace(people.ada, "given", others, owner_id=people.bob.id)
    assert forbidden.value.rule == "own-or-public"


async def test_two_servers_of_one_name_cannot_be_in_one_namespace(people: People) -> None:
    public, own = await people.server(people.ada, "web", owner_id=None), await people.server(people.bob, "web")
    with pytest.raises(Invalid, match='two servers named "web"'):
        await people.namespace(people.bob, "n", own, public)
    with pytest.raises(Invalid, match="twice") as refused:
        await people.namespace(people.bob, "n", own, own)
    assert refused.value.field == "servers[1].serverId"


async def test_middlewares_and_prefix_are_written_as_in_a_file(people: People) -> None:
    given = {"middlewares": ["audit", {"limit": {"maxBytes": 10}}], "prefix": "on-collision"}
    namespace = await people.namespace(people.bob, "n", **given)
    assert namespace.middlewares == [{"name": "audit", "options": {}}, {"name": "limit", "options": {"maxBytes": 10}}]
    changed = await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(description="${HOME}"))
    assert (changed.middlewares, changed.prefix, changed.description) == (
        namespace.middlewares,
        "on-collision",
        "${HOME}",
    )
    with pytest.raises(Invalid) as refused:
        await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(middlewares=[{}]))
    assert refused.value.field == "middlewares[0]"
    with pytest.raises(Invalid) as refused:
        await people.do(namespaces.update, people.bob, namespace.id, NamespaceChanges(prefix="sometimes"))
    assert refused.value.field == "prefix"


@pytest.mark.parametrize(
    ("middleware", "field", "reason"),
    [
        ("limt", "middlewares[1]", 'did you mean "limit"'),
        ("caller", "middlewares[1]", "not installed on this machine"),
        ({"limit": {"maxByte": 1}}, "middlewares[1].limit", 'did you mean "maxBytes"'),
        ({"limit": {"maxBytes": 1}}, "middlewares[1].limit.maxBytes", ">= 256"),
        ({"redact": {"patterns": ["(a+)+$"]}}, "middlewares[1].redact.patterns[0]", "a repeat within a repeat"),
    ],
)
async def test_a_middleware_is_judged_when_it_is_written(
    database: Any, middleware: Any, field: str, reason: str
) -> None:
    # As the gateway and the command line open it.
    store = await Store.open(database(), environ={}, secret_keys=(SECRET,), check=instances)
    try:
        async with store.write(COMMAND_LINE) as tx:
            row = await namespaces.create(
                tx, COMMAND_LINE, NewNamespace(name="n", owner_id=None, middlewares=["audit", "limit"])
            )
        for wrong in (
            (namespaces.create, NewNamespace(name="m", owner_id=None, middlewares=["audit", middleware])),
            (namespaces.update, row.id, NamespaceChanges(middlewares=["audit", middleware])),
        ):
            with pytest.raises(Invalid) as refused:
                async with store.write(COMMAND_LINE) as tx:
                    await wrong[0](tx, COMMAND_LINE, *wrong[1:])
            assert (refused.value.field, reason in refused.value.reason) == (field, True), refused.value
    finally:
        await store.aclose()


async def test_a_package_that_is_gone_keeps_nobody_from_changing_the_rest(database: Any) -> None:
    store = await Store.open(database(), environ={}, secret_keys=(SECRET,), check=instances)
    try:
        async with store.write(COMMAND_LINE) as tx:
            row = await tx.add(Namespace(name="n", middlewares=[{"name": "gone", "options": {}}]))
            changes = NamespaceChanges(description="D")
            assert (await namespaces.update(tx, COMMAND_LINE, row.id, changes)).description == "D"
    finally:
        await store.aclose()


async def test_a_namespace_that_a_public_endpoint_publishes_stays_public(people: People) -> None:
    namespace = await people.namespace(people.ada, "n", owner_id=None)
    await people.endpoint(people.ada, "e", namespace, owner_id=None)
    with pytest.raises(Forbidden, match='endpoint "e" has this namespace'):
        await people.do(namespaces.update, people.ada, namespace.id, NamespaceChanges(owner_id=people.ada.id))
    await people.do(namespaces.delete, people.ada, namespace.id)
    async with people.store.read() as tx:
        assert await tx.list(Endpoint) == []
