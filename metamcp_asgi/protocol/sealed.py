"""Sealed tokens: state that travels in the client's hands, which only we can read and make.

A token is ``prefix.`` followed by base64url of ``kid(4) | nonce(12) | AES-256-GCM``. The prefix names the purpose
and its version; it is authenticated, and each purpose has its own key, so no token passes for another kind.
The first key of the ring seals and all open, so that keys rotate without downtime (eras.md 3.2).
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from typing import Final, Generic, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["KeyRing", "Sealer"]

_KID: Final = 4
_NONCE: Final = 12
_TAG: Final = 16

T = TypeVar("T")


class KeyRing:
    """The secrets that seal tokens, newest first.

    Args:
        secrets: Each at least 32 bytes; without any, one that lives as long as this object.

    Raises:
        ValueError: A secret is too short.
    """

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        if any(len(secret) < 32 for secret in secrets):
            raise ValueError("a sealing key needs at least 32 bytes")
        self._secrets = tuple(secrets) or (os.urandom(32),)

    def sealer(self, prefix: str, kind: type[T]) -> "Sealer[T]":
        """Return the sealer of one purpose.

        Args:
            prefix: Purpose and version, for example ``s1``.
            kind: The type of what is sealed, which ``msgspec`` can encode.
        """
        return Sealer(prefix, kind, self._secrets)


class Sealer(Generic[T]):
    """Seals values of one kind for one purpose; made by ``KeyRing.sealer``."""

    __slots__ = ("_ciphers", "_decode", "_encode", "_kid", "_prefix")

    def __init__(self, prefix: str, kind: type[T], secrets: Sequence[bytes]) -> None:
        self._prefix = f"{prefix}.".encode()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._ciphers: dict[bytes, AESGCM] = {}
        for secret in reversed(secrets):
            key = HKDF(SHA256(), 32, salt=None, info=b"metamcp-asgi " + self._prefix).derive(secret)
            self._kid = hashlib.sha256(b"kid " + key).digest()[:_KID]
            self._ciphers[self._kid] = AESGCM(key)

    def seal(self, value: T) -> str:
        """Return the token that carries ``value``; each call gives another token."""
        nonce = os.urandom(_NONCE)
        aad = self._prefix + self._kid
        sealed = self._ciphers[self._kid].encrypt(nonce, self._encode(value), aad)
        return (self._prefix + base64.urlsafe_b64encode(self._kid + nonce + sealed).rstrip(b"=")).decode()

    def open(self, token: str | bytes) -> T | None:
        """Return what a token carries, or ``None`` when it isn't ours, was changed, or was made for another purpose."""
        raw = token.encode("utf-8", "replace") if isinstance(token, str) else token
        if not raw.startswith(self._prefix):
            return None
        text = raw[len(self._prefix) :]
        try:
            blob = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            return None
        # Several texts decode to the same bytes; one token must have one spelling.
        if len(blob) < _KID + _NONCE + _TAG or base64.urlsafe_b64encode(blob).rstrip(b"=") != text:
            return None
        kid, nonce, sealed = blob[:_KID], blob[_KID : _KID + _NONCE], blob[_KID + _NONCE :]
        cipher = self._ciphers.get(kid)
        if cipher is None:
            return None
        try:
            return self._decode(cipher.decrypt(nonce, sealed, self._prefix + kid))
        except (InvalidTag, msgspec.MsgspecError):
            return None
