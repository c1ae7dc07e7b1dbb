"""What people do with keys, on both kinds of database."""

from datetime import UTC, datetime

import pytest

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.store.errors import NotFound
from metamcp_asgi.store.policy import Forbidden
from metamcp_asgi.store.services import keys
from metamcp_asgi.store.services.inputs import Invalid, KeyChanges, NewKey, Unknown
from tests.store.services.people import People, audit


async def test_a_key_is_told_once_and_kept_as_its_digest(people: People) -> None:
    row, text = await people.do(keys.create, people.bob, NewKey(name="laptop of Bob"))
    assert len(text) == 70
    assert text.startswith("sk_mt_")
    assert (row.digest, row.prefix, row.owner_id) == (digest_of(text), text[:10], people.bob.id)
    assert text not in str([entry.after for entry in await audit(people.store)])


async def test_nobody_makes_a_key_for_somebody_else(people: People) -> None:
    for acting in (people.ada, people.bob):
        with pytest.raises(Forbidden) as refused:
            await people.do(keys.create, acting, NewKey(name="k", owner_id=people.eve.id))
        assert refused.value.rule == "own-key"
    with pytest.raises(Forbidden):
        await people.do(keys.create, people.bob, NewKey(name="k", owner_id=None))
    assert (await people.do(keys.create, people.ada, NewKey(name="k", owner_id=None)))[0].owner_id is None


async def test_only_admins_have_keys_for_managing(people: People) -> None:
    _, text = await people.do(keys.create, people.ada, NewKey(name="ci", admin=True))
    async with people.store.read() as tx:
        assert await keys.acting(tx, text) == people.ada
    with pytest.raises(Forbidden):
        await people.do(keys.create, people.bob, NewKey(name="ci", admin=True))
    row, text = await people.do(keys.create, people.bob, NewKey(name="ci"))
    with pytest.raises(Forbidden):
        await people.do(keys.update, people.bob, row.id, KeyChanges(admin=True))
    # Not even an admin makes somebody else's key one with which things are done in that name.
    with pytest.raises(Forbidden):
        await people.do(keys.update, people.ada, row.id, KeyChanges(admin=True))
    async with people.store.read() as tx:
        with pytest.raises(Forbidden, match="endpoints only"):
            await keys.acting(tx, text)
        with pytest.raises(Unknown):
            await keys.acting(tx, text + "x")


async def test_a_key_that_is_off_or_over_is_as_good_as_unknown(people: People) -> None:
    for changes in ({"disabled": True}, {"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}):
        row, text = await people.do(keys.create, people.ada, NewKey(name=str(changes)[:20].strip(), admin=True))
        await people.do(keys.update, people.ada, row.id, KeyChanges(**changes))
        async with people.store.read() as tx:
            with pytest.raises(Unknown):
                await keys.acting(tx, text)


async def test_a_key_is_restricted_to_endpoints_that_it_could_open(people: People) -> None:
    own = await people.endpoint(people.bob, "own", await people.namespace(people.bob, "n"))
    row, _ = await people.do(keys.create, people.bob, NewKey(name="k", endpoint_ids=[own.id, own.id]))
    assert row.endpoint_ids == [str(own.id)]
    with pytest.raises(Invalid, match="does not exist") as refused:
        await people.do(keys.create, people.eve, NewKey(name="k", endpoint_ids=[own.id]))
    assert refused.value.field == "endpointIds[0]"
    with pytest.raises(Invalid, match="public endpoints only"):
        await people.do(keys.create, people.ada, NewKey(name="k", owner_id=None, endpoint_ids=[own.id]))
    changed = await people.do(keys.update, people.bob, row.id, KeyChanges(endpoint_ids=None, name="renamed"))
    assert (changed.endpoint_ids, changed.name) == (None, "renamed")


async def test_an_expiry_needs_a_time_zone(people: People) -> None:
    given = NewKey(name="k", expires_at=datetime(2100, 1, 1))
    with pytest.raises(Invalid) as refused:
        await people.do(keys.create, people.bob, given)
    assert refused.value.field == "expiresAt"


async def test_others_keys_are_neither_seen_nor_removed(people: People) -> None:
    row, _ = await people.do(keys.create, people.bob, NewKey(name="k"))
    public, _ = await people.do(keys.create, people.ada, NewKey(name="k", owner_id=None))
    with pytest.raises(NotFound):
        await people.do(keys.delete, people.eve, row.id)
    # Dossier 1.3: in MetaMCP anybody deletes the keys of all.
    with pytest.raises(Forbidden):
        await people.do(keys.delete, people.eve, public.id)
    await people.do(keys.delete, people.bob, row.id)
