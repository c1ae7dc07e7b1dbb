"""Secrets at rest: AES-256-GCM under a ring of keys, each value bound to the row and column it lies in.

A sealed value is ``format(1) | key id(4) | nonce(12) | ciphertext``. The first key seals and all open, so keys
rotate without downtime. Knows nothing of tables, and of keys only who to ask for them.
"""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from metamcp_asgi.store.errors import SecretsError

__all__ = ["Context", "ServerSecrets", "Vault"]

_FORMAT: Final = b"\x01"
_KID: Final = 4
_NONCE: Final = 12


class ServerSecrets(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of a server nobody may read at rest: environment, headers, bearer token, OAuth client secret or private key.

    ``url`` and ``args`` are here, whole, where they have a secret in them; their columns have them masked then.
    """

    env: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    bearer_token: str | None = None
    client_secret: str | None = None
    private_key: str | None = None
    url: str | None = None
    args: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"ServerSecrets(env=<{len(self.env)}>, headers=<{len(self.headers)}>, <hidden>)"

    def __bool__(self) -> bool:
        return self != ServerSecrets()


class Context(msgspec.Struct, frozen=True):
    """Where a value lies; it opens nowhere else."""

    table: str
    row: str
    column: str

    def bytes(self) -> bytes:
        """Return the context in one spelling."""
        return f"{self.table}\0{self.row}\0{self.column}".encode()


class Vault:
    """Seals and opens the secrets of a store.

    Args:
        keys: Gives the secrets of the ring, each at least 32 bytes, newest first; asked again when a value turns up
            whose key is unknown, because another process may have rotated them.
    """

    __slots__ = ("_ciphers", "_keys", "_kid")

    def __init__(self, keys: Callable[[], Sequence[bytes]]) -> None:
        self._keys = keys
        self._ciphers: dict[bytes, AESGCM] = {}
        self._kid = b""
        self.reload()

    def reload(self) -> None:
        """Read the ring again."""
        ciphers: dict[bytes, AESGCM] = {}
        for secret in reversed(self._keys()):
            key = HKDF(SHA256(), 32, salt=None, info=b"metamcp-asgi at rest 1").derive(secret)
            self._kid = hashlib.sha256(b"kid " + key).digest()[:_KID]
            ciphers[self._kid] = AESGCM(key)
        self._ciphers = ciphers

    def seal(self, value: Any, context: Context) -> bytes:
        """Return ``value`` sealed with the newest key.

        Args:
            value: Anything that ``msgspec`` can encode.
            context: Where it will lie.
        """
        nonce = os.urandom(_NONCE)
        head = _FORMAT + self._kid
        sealed = self._ciphers[self._kid].encrypt(nonce, msgspec.msgpack.encode(value), head + context.bytes())
        return head + nonce + sealed

    def open(self, sealed: bytes, context: Context, kind: Any = Any) -> Any:
        """Return what was sealed.

        Args:
            sealed: What ``seal`` returned.
            context: Where it lies.
            kind: The type of the value.

        Raises:
            SecretsError: Its key is not in the ring, or it was changed or sealed for another place.
        """
        where = f"the {context.column} of row {context.row} in {context.table}"
        if sealed[:1] != _FORMAT or len(sealed) <= 1 + _KID + _NONCE:
            raise SecretsError(f"{where} cannot be opened: it is not in a form that this version knows")
        kid, nonce = sealed[1 : 1 + _KID], sealed[1 + _KID : 1 + _KID + _NONCE]
        if kid not in self._ciphers:
            self.reload()
        cipher = self._ciphers.get(kid)
        if cipher is None:
            raise SecretsError(
                f"{where} cannot be opened: it was sealed with a key that is neither in METAMCP_SECRET_KEYS nor in "
                "the key file beside the database"
            )
        try:
            plain = cipher.decrypt(nonce, sealed[1 + _KID + _NONCE :], sealed[: 1 + _KID] + context.bytes())
        except InvalidTag:
            raise SecretsError(f"{where} cannot be opened: it was changed, or moved there from elsewhere") from None
        return msgspec.msgpack.decode(plain, type=kind)

    def current(self, sealed: bytes) -> bool:
        """Tell whether a value is sealed with the newest key."""
        return sealed[1 : 1 + _KID] == self._kid
