"""Who may go on using an endpoint after a change: asked for every stream that is open."""

import time

from msgspec.structs import replace

from metamcp_asgi.config.snapshot import ANONYMOUS, Endpoint, Key, Principal, Snapshot, digest_of

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


def test_ten_thousand_streams_do_not_each_look_at_ten_thousand_keys() -> None:
    principals = [Principal(id=f"key:{number}", kind="key") for number in range(10_000)]
    served = snapshot(*(key(each.id, "one", principal=each) for each in principals))
    begin = time.process_time()
    assert all(served.admits("one", each) for each in principals)
    # Looking at each key took half a minute.
    assert time.process_time() - begin < 3
