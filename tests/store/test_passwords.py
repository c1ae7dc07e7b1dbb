"""Passwords: ours and MetaMCP's verify, and nothing is told by the time that it takes."""

import asyncio
import hashlib
import time
import unicodedata

import pytest

from metamcp_asgi.store.passwords import (
    LONGEST,
    SHORTEST,
    hash_password,
    needs_rehash,
    verify_nothing,
    verify_password,
)


def better_auth(password: str, salt: str = "0123456789abcdef0123456789abcdef") -> str:
    """Returns what better-auth 1.4 keeps in accounts.password; the salt's text is the salt (dossier 4.7)."""
    key = hashlib.scrypt(
        unicodedata.normalize("NFKC", password).encode(),
        salt=salt.encode(),
        n=16384,
        r=16,
        p=1,
        maxmem=128 * 16384 * 16 * 2,
        dklen=64,
    )
    return f"{salt}:{key.hex()}"


async def test_a_password_verifies_and_no_other_one_does() -> None:
    stored = await hash_password("correct horse")
    assert stored.startswith("$argon2id$")
    assert await verify_password(stored, "correct horse")
    assert not await verify_password(stored, "correct horsf")
    assert not await verify_password(stored, "")
    assert not needs_rehash(stored)


async def test_the_same_password_gets_another_hash_each_time() -> None:
    assert await hash_password("correct horse") != await hash_password("correct horse")


async def test_a_letter_with_an_accent_is_the_same_however_the_keyboard_writes_it() -> None:
    stored = await hash_password("cafe\u0301 noir")
    assert await verify_password(stored, "caf\u00e9 noir")


async def test_a_password_of_metamcp_verifies_and_asks_for_a_new_hash() -> None:
    stored = better_auth("changeme")
    assert await verify_password(stored, "changeme")
    assert not await verify_password(stored, "changemf")
    assert needs_rehash(stored)


async def test_a_password_of_metamcp_verifies_in_every_spelling() -> None:
    # A ligature and the sign of the unit angstrom, which NFKC writes in ordinary letters.
    assert await verify_password(better_auth("pa\ufb00ing-\u212b"), "paffing-\u00c5")
    assert await verify_password(better_auth("paffing-\u00c5"), "pa\ufb00ing-\u212b")


async def test_the_salt_of_metamcp_is_its_hexadecimal_text_and_not_its_bytes() -> None:
    salt = "0123456789abcdef0123456789abcdef"
    key = hashlib.scrypt(b"changeme", salt=bytes.fromhex(salt), n=16384, r=16, p=1, maxmem=2**26, dklen=64)
    assert not await verify_password(f"{salt}:{key.hex()}", "changeme")


async def test_a_hash_of_a_lower_cost_asks_for_a_new_one() -> None:
    assert needs_rehash("$argon2id$v=19$m=4096,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43)
    assert needs_rehash("$argon2id$nonsense")


@pytest.mark.parametrize("stored", [None, "", "x", "ab:cd", "$argon2id$broken", "$2b$12$abcdefghijklmnopqrstuv"])
async def test_what_is_no_hash_of_ours_opens_nothing(stored: str | None) -> None:
    assert not await verify_password(stored, "anything at all")


@pytest.mark.parametrize("password", ["x" * (SHORTEST - 1), "x" * (LONGEST + 1), "\ud800" * 10])
async def test_a_password_that_is_too_short_or_long_or_no_text_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match=r"must have|isn't valid") as refused:
        await hash_password(password)
    assert password not in str(refused.value)


async def cost(stored: str | None, password: str = "wrong password") -> float:
    """Returns how many seconds of a processor it takes to refuse a password, at the best of five times."""
    times = []
    for _ in range(5):
        began = time.process_time()
        if stored is None:
            await verify_nothing(password)
        else:
            assert not await verify_password(stored, password)
        times.append(time.process_time() - began)
    return min(times)


@pytest.mark.parametrize("password", ["x" * 1_000_000, "\ud800"], ids=["a megabyte", "no text"])
async def test_what_can_be_no_password_costs_next_to_nothing(password: str) -> None:
    stored = await hash_password("correct horse")
    assert await cost(stored, password) < await cost(stored) / 4


async def test_an_unknown_user_takes_as_long_as_a_wrong_password() -> None:
    assert 0.5 < await cost(None) / await cost(await hash_password("correct horse")) < 2


async def test_hashing_does_not_hold_up_the_event_loop() -> None:
    hashing = asyncio.ensure_future(hash_password("correct horse"))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10
