"""The rules of users, roles and ownership, as the issue states them."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from metamcp_asgi.store.models import ApiKey, Endpoint, Namespace, Server, User
from metamcp_asgi.store.policy import (
    COMMAND_LINE,
    Acting,
    Forbidden,
    Rules,
    acting_key,
    acting_user,
    check_admin,
    check_change,
    check_key_scope,
    check_launch,
    check_move,
    check_own_password,
    check_public_url,
    check_reach,
    key_opens,
    key_owner,
    may_change,
    may_see,
    new_owner,
    reaches,
)

ADA, BOB, EVE = (uuid.UUID(int=number) for number in (1, 2, 3))
PEOPLE = (ADA, BOB, EVE)
ADMIN, MEMBER = Acting(ADA, "ada@example.org", "admin"), Acting(BOB, "bob@example.org")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
STRICT, LAX = Rules(), Rules(members_may_create_stdio=True, members_may_create_public=True)

people = st.sampled_from(PEOPLE)
owners = st.one_of(st.none(), people)
actings = st.builds(Acting, people, st.just("x"), st.sampled_from(["admin", "member"]))
members = st.builds(Acting, people, st.just("x"), st.just("member"))
wanted = st.one_of(st.just(UNSET), owners)
rules = st.builds(Rules, members_may_create_stdio=st.booleans(), members_may_create_public=st.booleans())


def rows(owner: uuid.UUID | None) -> list[Any]:
    return [
        Server(name="s", type="stdio", command="x", owner_id=owner),
        Namespace(name="n", owner_id=owner),
        Endpoint(name="e", namespace_id=uuid.uuid4(), owner_id=owner),
        ApiKey(name="k", digest=b"", prefix="", owner_id=owner),
    ]


def key(**columns: Any) -> ApiKey:
    return ApiKey(**{"name": "k", "digest": b"", "prefix": "", "owner_id": ADA, "admin": True, **columns})


@given(actings, owners)
def test_members_see_their_own_and_public_things_and_admins_all(acting: Acting, owner: uuid.UUID | None) -> None:
    for row in rows(owner):
        assert may_see(acting, row) == (acting.role == "admin" or owner is None or owner == acting.id)


@given(actings, owners)
def test_members_change_only_their_own_things(acting: Acting, owner: uuid.UUID | None) -> None:
    for row in rows(owner):
        assert may_change(acting, row) == (acting.role == "admin" or (owner is not None and owner == acting.id))
        assert may_see(acting, row) or not may_change(acting, row)


def test_a_member_is_told_why_a_thing_is_not_theirs_to_change() -> None:
    for row in rows(None):
        with pytest.raises(Forbidden, match="public things are changed by admins") as refused:
            check_change(MEMBER, row)
        assert refused.value.rule == "change-own"
    for row in rows(ADA):
        with pytest.raises(Forbidden, match="belongs to somebody else"):
            check_change(MEMBER, row)


@given(members, wanted, rules)
def test_no_owner_in_an_input_gives_a_member_what_is_not_theirs(acting: Acting, asked: Any, allowed: Rules) -> None:
    # Dossier B3: MetaMCP trusts whatever user_id it is given.
    try:
        owner = new_owner(acting, asked, allowed)
    except Forbidden:
        assert asked is not UNSET
        assert asked != acting.id
    else:
        assert owner == acting.id or (owner is None and allowed.members_may_create_public)
    try:
        owner = key_owner(acting, asked)
    except Forbidden:
        assert asked is not UNSET
        assert asked != acting.id
    else:
        assert owner == acting.id


@given(members, owners, wanted)
def test_no_member_moves_a_thing_to_another_owner(acting: Acting, owner: uuid.UUID | None, asked: Any) -> None:
    for row in rows(owner):
        if asked == owner:
            check_move(acting, row, asked)
        else:
            with pytest.raises(Forbidden, match="only admins change the owner"):
                check_move(acting, row, asked)


@given(st.builds(Acting, people, st.just("x"), st.just("admin")), wanted)
def test_not_even_an_admin_makes_a_key_for_somebody_else(acting: Acting, asked: Any) -> None:
    try:
        owner = key_owner(acting, asked)
    except Forbidden:
        assert asked not in (UNSET, None, acting.id)
    else:
        assert owner in (None, acting.id)


def test_the_operator_at_the_machine_may_make_a_key_for_anybody() -> None:
    assert key_owner(COMMAND_LINE, BOB) == BOB
    assert key_owner(COMMAND_LINE, UNSET) is None


def test_only_admins_make_things_for_others_or_for_everybody() -> None:
    assert new_owner(ADMIN, BOB, STRICT) == BOB
    assert new_owner(ADMIN, None, STRICT) is None
    assert new_owner(ADMIN, UNSET, STRICT) == ADA
    assert new_owner(MEMBER, UNSET, STRICT) == BOB
    assert new_owner(MEMBER, None, LAX) is None
    with pytest.raises(Forbidden) as refused:
        new_owner(MEMBER, None, STRICT)
    assert refused.value.rule == "create-public"
    with pytest.raises(Forbidden) as refused:
        new_owner(MEMBER, ADA, LAX)
    assert refused.value.rule == "own-owner"


def test_only_admins_decide_what_is_started_unless_a_setting_lets_members() -> None:
    check_launch(ADMIN, STRICT)
    check_launch(MEMBER, LAX)
    with pytest.raises(Forbidden) as refused:
        check_launch(MEMBER, Rules(members_may_create_public=True))
    assert refused.value.rule == "create-stdio"


@given(members, owners)
def test_a_member_makes_no_public_server_with_a_url(acting: Acting, owner: uuid.UUID | None) -> None:
    check_public_url(ADMIN, owner)
    if owner is not None:
        check_public_url(acting, owner)
        return
    with pytest.raises(Forbidden) as refused:
        check_public_url(acting, owner)
    assert refused.value.rule == "public-url"


@given(owners, owners)
def test_whoever_sees_a_thing_sees_what_it_is_made_of(whole: uuid.UUID | None, part: uuid.UUID | None) -> None:
    may = all(
        may_see(Acting(person, "x"), Server(name="s", type="stdio", owner_id=part))
        for person in PEOPLE
        if may_see(Acting(person, "x"), Namespace(name="n", owner_id=whole))
    )
    assert reaches(whole, part) == may
    if not may:
        with pytest.raises(Forbidden, match='server "s": what is') as refused:
            check_reach(whole, part, 'server "s"')
        assert refused.value.rule == ("public-of-public" if whole is None else "own-or-public")


@given(owners, owners)
def test_a_key_opens_what_its_owner_may_see(owner: uuid.UUID | None, endpoint: uuid.UUID | None) -> None:
    # Dossier 1.3: public key on a private endpoint 403, another's private endpoint 403, any key on a public one.
    row = Endpoint(name="e", namespace_id=uuid.uuid4(), owner_id=endpoint)
    seen = endpoint is None if owner is None else may_see(Acting(owner, "x"), row)
    assert key_opens(owner, endpoint) == seen


def test_a_key_for_managing_is_made_by_admins_for_themselves() -> None:
    check_key_scope(ADMIN, ADA)
    check_key_scope(COMMAND_LINE, BOB)
    for acting, owner, rule in ((MEMBER, BOB, "admin-key"), (ADMIN, None, "admin-key"), (ADMIN, BOB, "own-key")):
        with pytest.raises(Forbidden) as refused:
            check_key_scope(acting, owner)
        assert refused.value.rule == rule


def test_a_key_acts_as_its_owner_with_the_role_that_they_have_now() -> None:
    owner = User(id=ADA, email="ada@example.org", role="admin")
    assert acting_key(key(), owner, NOW) == ADMIN
    owner.role = "member"
    assert acting_key(key(), owner, NOW).role == "member"


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ({"admin": False}, "admin-key"),
        ({"disabled": True}, "disabled-key"),
        ({"expires_at": NOW}, "expired-key"),
        ({"owner_id": BOB}, "admin-key"),
    ],
)
def test_a_key_that_is_not_for_managing_acts_as_nobody(columns: dict[str, Any], rule: str) -> None:
    with pytest.raises(Forbidden) as refused:
        acting_key(key(**columns), User(id=ADA, email="ada@example.org", role="admin"), NOW)
    assert refused.value.rule == rule


def test_a_public_key_acts_as_nobody() -> None:
    with pytest.raises(Forbidden):
        acting_key(key(owner_id=None), None, NOW)


def test_a_key_works_until_it_expires() -> None:
    owner = User(id=ADA, email="ada@example.org", role="admin")
    assert acting_key(key(expires_at=NOW + timedelta(seconds=1)), owner, NOW) == ADMIN


def test_a_disabled_user_acts_no_more_and_neither_do_their_keys() -> None:
    user = User(id=ADA, email="ada@example.org", role="admin", disabled=True)
    with pytest.raises(Forbidden):
        acting_user(user)
    with pytest.raises(Forbidden):
        acting_key(key(), user, NOW)


def test_members_see_no_user_but_themselves() -> None:
    ada, bob = User(id=ADA, email="ada@example.org"), User(id=BOB, email="bob@example.org")
    assert (may_see(MEMBER, bob), may_see(MEMBER, ada), may_see(ADMIN, bob)) == (True, False, True)


def test_settings_users_and_audit_are_for_admins() -> None:
    check_admin(ADMIN, "settings")
    with pytest.raises(Forbidden, match="only admins manage settings") as refused:
        check_admin(MEMBER, "settings")
    assert refused.value.rule == "admin-only"


def test_for_ones_own_password_the_present_one_is_needed_and_anothers_only_an_admin_sets() -> None:
    assert check_own_password(MEMBER, BOB) is True
    assert check_own_password(ADMIN, ADA) is True
    assert check_own_password(ADMIN, BOB) is False
    with pytest.raises(Forbidden):
        check_own_password(MEMBER, ADA)
