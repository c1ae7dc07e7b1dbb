"""Public keys as somebody else tells them (JWK, RFC 7517): read, or found to be none with which anything is verified.

Sans-IO. Needs PyJWT, and so is imported when the first key is read. Whose keys they are is not its matter.
"""

from collections.abc import Mapping
from typing import Any, Final

from jwt import PyJWK
from jwt.exceptions import PyJWTError

__all__ = ["ALGORITHMS", "public_key"]

ALGORITHMS: Final = ("ES256", "RS256", "ES384", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA")
"""Only such as have a public key: with any other, whoever knows that could sign (RFC 8725 3.1)."""

_PRIVATE: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Members of keys that are not public (RFC 7518 6)."""


def public_key(jwk: Any) -> PyJWK | None:
    """Return a key that verifies signatures; ``None`` when this is none, or one that should be known to nobody.

    Args:
        jwk: What somebody says that it is.
    """
    if not isinstance(jwk, Mapping) or jwk.get("use", "sig") != "sig" or not _PRIVATE.isdisjoint(jwk):
        return None
    try:
        found = PyJWK(dict(jwk))
    # The last is what PyJWT says to "alg": "none".
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError, RecursionError, NotImplementedError):
        return None
    return found if found.algorithm_name in ALGORITHMS else None
