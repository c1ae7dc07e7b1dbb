"""One token against the keys of its issuer, by PyJWT; imported when the first token comes."""

import math
from typing import Any

import jwt
from jwt.exceptions import PyJWTError

from metamcp_asgi.asgi.bearer import Rejected
from metamcp_asgi.config.jwk import ALGORITHMS
from metamcp_asgi.tokens.claims import LEEWAY
from metamcp_asgi.tokens.keyset import KeySet

__all__ = ["verified"]


async def verified(token: bytes, keys: KeySet, issuer: str | None) -> dict[str, Any]:
    """Return the claims of a token.

    Args:
        token: A JWT.
        keys: The keys of its issuer.
        issuer: Who must have issued it; ``None``: that is looked at elsewhere, because it is us.

    Raises:
        Rejected: Its signature, its times or its issuer are wrong.
    """
    try:
        header = jwt.get_unverified_header(token)
    except (PyJWTError, ValueError, RecursionError):
        raise _invalid() from None
    kid, algorithm = header.get("kid"), header.get("alg")
    if algorithm not in ALGORITHMS or not (kid is None or isinstance(kid, str)) or "crit" in header:
        raise _invalid()
    # Of ours it is always said that it is one, so that nothing else that we may sign ever passes for it (RFC 9068 2.1).
    if issuer is None and header.get("typ") != "at+jwt":
        raise _invalid()
    key = await keys.key(kid)
    if key is None:
        raise _invalid()
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iss"], "verify_aud": False, "verify_exp": False},
        )
        if not math.isfinite(float(claims["exp"])):
            raise _invalid()
    except (PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
        raise _invalid() from None
    return claims


def _invalid() -> Rejected:
    return Rejected(401, "invalid_token", "The access token is not valid", guessed=True)
