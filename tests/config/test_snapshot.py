"""Who may go on using an endpoint after a change: asked for every stream that is open."""

import time

from msgspec.structs import replace

from metamcp_asgi.aggregate.alone import endpoint_for, stays
from metamcp_asgi.config.snapshot import ANONYMOUS, Endpoint, Key, Principal, Server, Snapshot, digest_of

ADA = Principal(id="key:ada", kind="key")


def snapshot(*keys: Key, locked: bool = True) -> Snapshot:
    endpoints = {name: Endpoint(name=name, namespace="n", api_key_auth=locked) for name in ("one", "two")}
    return Snapshot(servers={}, namespaces={}, endpoints=endpoints, keys={key.digest: key for key in keys})


def key(text: str, *endpoints: str, principal: Principal = ADA) -> Key:
    return Key(digest_of(text), principal, frozenset(endpoints) if endpoints else None)


def test_a_principal_may_use_what_any_of_its_keys_opens() -> None:
    served = snapshot(key("a", "one"), key("b", "two", principal=Principal(id="key:bob", kind="key")))
    assert (served.admits("one", ADA), served.admits("two", ADA), served.admits("gone", ADA)) == (True, False, False)
    more = snapshot(key("a", "one"), key("c", "two"))
    assert more.admits("two", ADA)
    assert snapshot(key("a")).admits("two", ADA)
    assert not snapshot().admits("one", ADA)
    assert not served.admits("one", ANONYMOUS)
    assert snapshot(locked=False).admits("one", ANONYMOUS)


def test_another_snapshot_knows_its_own_keys() -> None:
    served = snapshot(key("a", "one"))
    assert served.admits("one", ADA)
    assert served == snapshot(key("a", "one"))
    assert not replace(served, keys={}).admits("one", ADA)


def test_somebody_who_is_signed_in_may_use_what_their_keys_would_open() -> None:
    mel = Principal(id="user:mel", kind="user")
    served = replace(snapshot(), people={"user:mel": frozenset(["one"])})
    assert (served.admits("one", mel), served.admits("two", mel), served.admits("gone", mel)) == (True, False, False)
    assert not replace(served, people={}).admits("one", mel)
    assert snapshot(locked=False).admits("two", mel)


def test_a_server_by_itself_stays_with_those_who_are_there() -> None:
    mel = Principal(id="user:mel", kind="user")
    served = replace(snapshot(), servers={"time": Server(name="time", type="stdio")}, people={"user:mel": frozenset()})
    assert stays(served, endpoint_for("time").name, mel)
    assert not stays(served, endpoint_for("time@somebody").name, mel)
    assert not stays(served, "time", mel)
    assert not stays(replace(served, people={}), endpoint_for("time").name, mel)
    assert not stays(replace(served, servers={}), endpoint_for("time").name, mel)
    assert not served.admits(endpoint_for("time").name, mel)  # nobody gets there but by the inspector


def test_a_server_of_somebody_else_by_itself_stays_with_admins_as_long_as_they_are() -> None:
    mel = Principal(id="user:mel", kind="user", user="mel")
    mine, others = (Server(name="time", type="stdio", owner=owner) for owner in ("mel", "ada"))
    servers = {server.known_as: server for server in (mine, others)}
    served = replace(snapshot(), servers=servers, people={"user:mel": frozenset()})
    assert stays(served, endpoint_for(mine.known_as).name, mel)
    assert not stays(served, endpoint_for(others.known_as).name, mel)
    assert stays(replace(served, admins=frozenset(["user:mel"])), endpoint_for(others.known_as).name, mel)


def test_ten_thousand_streams_do_not_each_look_at_ten_thousand_keys() -> None:
    principals = [Principal(id=f"key:{number}", kind="key") for number in range(10_000)]
    served = snapshot(*(key(each.id, "one", principal=each) for each in principals))
    begin = time.process_time()
    assert all(served.admits("one", each) for each in principals)
    # Looking at each key took half a minute.
    assert time.process_time() - begin < 3
