"""Access tokens: JWTs (RFC 9068) signed by ES256, whose keys lie sealed in the store and are renewed by themselves.

The public halves are for everybody. A key signs for a month, and is told for a day after that, which is longer than any
token lives. Knows nothing of grants.
"""

import asyncio
import json
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from metamcp_asgi.store.columns import now
from metamcp_asgi.store.oauth_models import SigningKey
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.transaction import Reader

__all__ = ["LIFE", "Signing"]

LIFE: Final = 3600
"""Seconds that an access token is good at most; MetaMCP's."""

MONTH: Final = timedelta(days=30)
TOLD: Final = timedelta(days=1)


class Signing:
    """Signs access tokens.

    Args:
        store: Gives the open store.
    """

    def __init__(self, store: Callable[[], Awaitable[Store]]) -> None:
        self._store = store
        self._making = asyncio.Lock()
        self._current: tuple[str, EllipticCurvePrivateKey, float] | None = None

    async def token(self, claims: Mapping[str, Any], until: float = math.inf) -> tuple[str, int]:
        """Return a signed token, and the seconds that it is good.

        Args:
            claims: What it says; its times and its id are added.
            until: When it must have ended at the latest, in seconds since 1970.
        """
        import jwt  # of all that is imported for a gateway to start, nobody needs it before the first token

        kid, private = await self._key()
        issued = int(time.time())
        life = LIFE if until > issued + LIFE else max(0, int(until) - issued)
        said = {**claims, "iat": issued, "exp": issued + life, "jti": secrets.token_urlsafe(16)}
        return jwt.encode(said, private, "ES256", headers={"kid": kid, "typ": "at+jwt"}), life

    async def public(self) -> Sequence[Mapping[str, Any]]:
        """Return the public halves of all keys with which a token that is good may be signed."""
        async with (await self._store()).read() as tx:
            return [row.public for row in await tx.list(SigningKey)]

    async def _key(self) -> tuple[str, EllipticCurvePrivateKey]:
        async with self._making:
            if self._current is None or self._current[2] <= time.time():
                self._current = await self._read()
            return self._current[:2]

    async def _read(self) -> tuple[str, EllipticCurvePrivateKey, float]:
        store = await self._store()
        async with store.read() as tx:
            found = await _newest(tx)
        if found is None:
            async with store.write(SYSTEM) as tx:
                found = await _newest(tx)  # another process may have been first
                if found is None:
                    for old in await tx.list(SigningKey):
                        if old.created_at + MONTH + TOLD < now():
                            await tx.delete(old)
                    from jwt.algorithms import ECAlgorithm

                    private = generate_private_key(SECP256R1())
                    kid = secrets.token_urlsafe(12)
                    jwk = json.loads(ECAlgorithm.to_jwk(private.public_key()))
                    public = {**jwk, "kid": kid, "use": "sig", "alg": "ES256"}
                    row = SigningKey(kid=kid, public=public, sealed=b"")
                    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
                    tx.set_signing_key(row, der)
                    await tx.add(row)
                    found = row, private
        row, private = found
        return row.kid, private, (row.created_at + MONTH).timestamp()


async def _newest(tx: Reader) -> tuple[SigningKey, EllipticCurvePrivateKey] | None:
    """Return the key that signs now, if there is one."""
    rows = [row for row in await tx.list(SigningKey) if row.created_at + MONTH > now()]
    if not rows:
        return None
    row = max(rows, key=lambda row: row.created_at)
    private = load_der_private_key(tx.signing_key(row), None)
    return (row, private) if isinstance(private, EllipticCurvePrivateKey) else None
