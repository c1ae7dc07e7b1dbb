"""Passwords at rest: argon2id, and MetaMCP's scrypt until its user logs in again.

Hashing takes its time and memory by design, so it runs in two threads of its own and never in the event loop, and
no more than two at once take the memory. Knows nothing of users.
"""

import asyncio
import hashlib
import hmac
import re
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

__all__ = ["LONGEST", "SHORTEST", "hash_password", "needs_rehash", "verify_nothing", "verify_password"]

SHORTEST: Final = 8
"""Characters of a password at least; MetaMCP's limit, and that of NIST SP 800-63B."""
LONGEST: Final = 256
"""Characters of a password at most; what is longer is not hashed at all."""

# argon2-cffi's parameters: those of RFC 9106, 4: 64 MiB, 3 passes, 4 lanes.
_HASHER: Final = PasswordHasher()
_NOBODY: Final = "$argon2id$v=19$m=65536,t=3,p=4$" + "A" * 22 + "$" + "A" * 43
"""The hash of no password; it costs to verify what a real one costs."""
_POOL: Final = ThreadPoolExecutor(2, thread_name_prefix="passwords")

# better-auth, from which MetaMCP has its logins (dossier 4.7); the salt's hexadecimal text is the salt itself.
_SCRYPT: Final = re.compile(r"([0-9a-f]{2,128}):([0-9a-f]{128})", re.IGNORECASE)
_N, _R, _P, _LENGTH = 16384, 16, 1, 64

Result = TypeVar("Result")


async def hash_password(password: str) -> str:
    """Return the hash to store.

    Args:
        password: What the user typed, which may be anything of ``SHORTEST`` to ``LONGEST`` characters.

    Raises:
        ValueError: It is too short or too long; the message does not contain it.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise ValueError(f"must have {SHORTEST} to {LONGEST} characters")
    secret = _bytes(password)
    if secret is None:
        raise ValueError("isn't valid Unicode")
    return await _in_thread(lambda: _HASHER.hash(secret))


async def verify_password(stored: str | None, password: str) -> bool:
    """Tell whether a password is the one that was hashed.

    Args:
        stored: The hash, argon2 or MetaMCP's scrypt; ``None``, where there is none, takes as long and is false.
        password: What was typed now.
    """
    # Whoever sent it knows how long it is, so that this is quick tells nothing.
    secret = _bytes(password) if len(password) <= LONGEST else None
    if secret is None:
        return False
    scrypt = _SCRYPT.fullmatch(stored or "")
    if scrypt:
        salt, key = scrypt[1].encode("ascii"), bytes.fromhex(scrypt[2])
        return await _in_thread(lambda: hmac.compare_digest(_scrypt(secret, salt), key))
    return await _in_thread(lambda: _argon2(stored or _NOBODY, secret))


async def verify_nothing(password: str) -> None:
    """Take the time of ``verify_password`` where there is no such user, so that the time does not tell."""
    await verify_password(None, password)


def needs_rehash(stored: str) -> bool:
    """Tell whether a hash is not of the kind and cost that ``hash_password`` makes now."""
    if not stored.startswith("$argon2id$"):
        return True
    try:
        return _HASHER.check_needs_rehash(stored)
    except InvalidHashError:
        return True


def _bytes(password: str) -> bytes | None:
    """Return the password in one spelling: keyboards write the same accent in different ways."""
    try:
        return unicodedata.normalize("NFKC", password).encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can spell
        return None


def _scrypt(secret: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(secret, salt=salt, n=_N, r=_R, p=_P, maxmem=128 * _N * _R * 2, dklen=_LENGTH)


def _argon2(stored: str, secret: bytes) -> bool:
    try:
        return _HASHER.verify(stored, secret)
    except (VerificationError, InvalidHashError):
        return False


async def _in_thread(work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(_POOL, work)
