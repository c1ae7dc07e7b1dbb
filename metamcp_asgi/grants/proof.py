"""Who we are at a token endpoint, shown by our key: ``private_key_jwt`` (RFC 7523 section 2.2, SEP-1046)."""

import secrets
from typing import Final

from metamcp_asgi.config.private_keys import read_key
from metamcp_asgi.config.snapshot import GrantSpec
from metamcp_asgi.grants.fetch import GrantError
from metamcp_asgi.grants.registration import KEYED, Client

__all__ = ["proof"]

SECONDS: Final = 60
"""How long a proof is good: it is made for one request, and the other clock may be behind or ahead of ours."""


def proof(spec: GrantSpec, client: Client, now: float) -> dict[str, str]:
    """Return the fields of a token request that show who we are.

    Args:
        spec: What is configured for the server, with the key.
        client: Who we are at the issuer.
        now: The present time, in seconds since the epoch.

    Raises:
        GrantError: There is no key any more.
    """
    import jwt

    if spec.private_key is None:
        raise GrantError(f"was connected with {KEYED}, and has no privateKey any more; connect it again")
    key = read_key(spec.private_key)
    claims = {
        "iss": client.id,
        "sub": client.id,
        # Alone, and the issuer as it names itself: nobody else can use the proof (draft-ietf-oauth-rfc7523bis).
        "aud": client.issuer,
        "iat": int(now),
        "exp": int(now) + SECONDS,
        "jti": secrets.token_urlsafe(24),
    }
    name = spec.key_id or key.id
    signed = jwt.encode(
        claims, key.key, spec.algorithm or key.algorithms[0], headers=None if name is None else {"kid": name}
    )
    return {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": signed,
    }
