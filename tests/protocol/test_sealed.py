"""Sealed tokens: only we read them, only we make them, and nobody can change one."""

import base64
import os
import string

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp_asgi.protocol.sealed import KeyRing, Sealer
from tests.protocol.documents import TEXT


class State(msgspec.Struct, frozen=True):
    principal: str
    count: int
    raw: bytes = b""


class Other(msgspec.Struct):
    principal: int


OLD, NEW, FOREIGN = (bytes([number]) * 32 for number in range(3))
RING = KeyRing([OLD])
SEALER = RING.sealer("s1", State)
STATES = st.builds(State, TEXT, st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40))
ALPHABET = set(string.ascii_letters + string.digits + "-_.")


@given(STATES)
def test_a_token_carries_its_value_in_characters_that_fit_in_any_header(state: State) -> None:
    token = SEALER.seal(state)
    assert set(token) <= ALPHABET
    assert token.startswith("s1.")
    assert SEALER.open(token) == state
    assert SEALER.open(token.encode()) == state
    assert SEALER.seal(state) != token


@given(STATES, st.data())
def test_a_token_with_any_bit_changed_is_refused(state: State, data: st.DataObject) -> None:
    token = bytearray(SEALER.seal(state).encode())
    token[data.draw(st.integers(0, len(token) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert SEALER.open(bytes(token)) is None


@given(STATES, st.data())
def test_a_token_cut_or_longer_is_refused(state: State, data: st.DataObject) -> None:
    token = SEALER.seal(state)
    assert SEALER.open(token[: data.draw(st.integers(0, len(token) - 1))]) is None
    for more in ("A", "=", "==", "AAAA", ".", "\n", " ", "é", "\ud800"):
        assert SEALER.open(token + more) is None
        assert SEALER.open(more + token) is None


@given(st.text() | st.binary() | st.binary().map(lambda junk: b"s1." + base64.urlsafe_b64encode(junk).rstrip(b"=")))
def test_what_we_did_not_make_is_refused(token: str | bytes) -> None:
    assert SEALER.open(token) is None


def test_a_token_has_one_spelling() -> None:
    spellings = 0
    for length in range(3):
        token = SEALER.seal(State("p", 1, b"x" * length))
        blob = token.removeprefix("s1.")
        decoded = base64.urlsafe_b64decode(blob + "=" * (-len(blob) % 4))
        for last in ALPHABET - {"."}:
            other = blob[:-1] + last
            if other != blob and base64.urlsafe_b64decode(other + "=" * (-len(other) % 4)) == decoded:
                spellings += 1
                assert SEALER.open("s1." + other) is None
    assert spellings, "no other spelling was tried"
    plus = next(token for token in (SEALER.seal(State("p", 1)) for _ in range(1000)) if "-" in token and "_" in token)
    assert SEALER.open(plus.replace("-", "+").replace("_", "/")) is None


def test_a_token_of_one_purpose_is_none_of_another() -> None:
    token = SEALER.seal(State("p", 1))
    for prefix in ("c1", "s2", "s1.", "s"):
        other = RING.sealer(prefix, State)
        assert other.open(token) is None
        assert other.open(f"{prefix}.{token.removeprefix('s1.')}") is None


def test_a_token_of_another_ring_is_refused() -> None:
    token = SEALER.seal(State("p", 1))
    assert KeyRing([FOREIGN]).sealer("s1", State).open(token) is None
    assert KeyRing().sealer("s1", State).open(KeyRing().sealer("s1", State).seal(State("p", 1))) is None


def test_keys_rotate_while_both_are_in_use() -> None:
    def sealer(*secrets: bytes) -> Sealer[State]:
        return KeyRing(secrets).sealer("s1", State)

    state = State("p", 1)
    old, both, new = sealer(OLD), sealer(NEW, OLD), sealer(NEW)
    assert both.open(old.seal(state)) == state
    assert new.open(both.seal(state)) == state
    assert old.open(both.seal(state)) is None
    assert new.open(old.seal(state)) is None
    assert sealer(OLD, NEW).open(both.seal(state)) == state


def test_a_value_of_another_shape_is_refused() -> None:
    assert RING.sealer("s1", Other).open(SEALER.seal(State("p", 1))) is None


def test_a_ring_without_secrets_makes_one_that_all_its_sealers_share() -> None:
    ring = KeyRing()
    token = ring.sealer("s1", State).seal(State("p", 1))
    assert ring.sealer("s1", State).open(token) == State("p", 1)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        KeyRing([os.urandom(32), os.urandom(31)])
