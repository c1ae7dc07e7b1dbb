"""What people find when they list and search, on both kinds of database."""

from metamcp_asgi.store.models import ApiKey, Endpoint, Namespace, Server, User
from metamcp_asgi.store.policy import COMMAND_LINE, Acting, may_see, visible
from metamcp_asgi.store.services import endpoints, keys, namespaces, servers, users
from metamcp_asgi.store.services.inputs import NewKey
from metamcp_asgi.store.transaction import place_of
from tests.store.services.people import People


async def test_what_a_list_has_is_what_may_be_seen(people: People) -> None:
    for acting in (people.ada, people.bob, people.eve):
        server = await people.server(acting, "web")
        namespace = await people.namespace(acting, "n", server)
        await people.endpoint(acting, acting.name.partition("@")[0], namespace)
        await people.do(keys.create, acting, NewKey(name="k"))
    public = await people.server(people.ada, "web", owner_id=None)
    namespace = await people.namespace(people.ada, "n", public, owner_id=None)
    await people.endpoint(people.ada, "public", namespace, owner_id=None)
    await people.do(keys.create, people.ada, NewKey(name="k", owner_id=None))
    nobody = Acting(None, "nobody")
    async with people.store.read() as tx:
        for kind in (Server, Namespace, Endpoint, ApiKey, User):
            every = await tx.list(kind)
            for acting in (people.ada, people.bob, people.eve, nobody, COMMAND_LINE):
                listed = await tx.list(kind, visible(acting, kind))
                assert {row.id for row in listed} == {row.id for row in every if may_see(acting, row)}
        for service in (servers, namespaces, endpoints, keys):
            assert len(await service.list_(tx, people.ada)) == 4
            assert len(await service.list_(tx, people.bob)) == 2
        assert [user.email for user in await users.list_(tx, people.bob)] == ["bob@example.org"]


async def test_a_list_goes_on_after_its_last_row(people: People) -> None:
    for number in range(5):
        await people.server(people.bob, f"s{number}")
    async with people.store.read() as tx:
        first = await servers.list_(tx, people.bob, limit=3)
        rest = await servers.list_(tx, people.bob, after=place_of(first[-1]), limit=3)
    assert [row.name for row in [*first, *rest]] == ["s0", "s1", "s2", "s3", "s4"]
