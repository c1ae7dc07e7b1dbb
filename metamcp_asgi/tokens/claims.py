"""From the header and claims of a verified token to a principal: what and of whom it is, what it may, and what for.

Sans-IO. Knows the words of Keycloak, Entra, Auth0, Okta and RFC 9068. Whether the signature is good is not its matter.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from metamcp_asgi.asgi.bearer import Rejected
from metamcp_asgi.config.snapshot import OAuth, Principal

__all__ = ["LEEWAY", "audiences_of", "foreign_principal", "is_id_token", "own_principal", "scopes_of", "type_of"]

LEEWAY: Final = 30
"""Seconds by which another one's clock may be ahead of ours; nothing is added to the life of what they signed."""

_ID_TOKEN: Final = frozenset({"nonce", "at_hash", "c_hash"})
"""Claims of tokens that tell a client who signed in; such a token is for the client, not for us (RFC 8725 2.8)."""


def audiences_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return what a token is for."""
    audience = claims.get("aud")
    found = audience if isinstance(audience, list) else [audience]
    return frozenset(each for each in found if isinstance(each, str))


def is_id_token(claims: Mapping[str, Any]) -> bool:
    """Tell whether a token has the claims of an ID token."""
    return claims.get("typ") == "ID" or claims.get("token_use") == "id" or not _ID_TOKEN.isdisjoint(claims)


def type_of(header: Mapping[str, Any]) -> str:
    """Return what a JWT is, in lower case and without ``application/``; empty when it does not say (RFC 7515 4.1.9)."""
    kind = header.get("typ", "")
    return kind.lower().removeprefix("application/") if isinstance(kind, str) else "?"


def scopes_of(claims: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the scopes that a token names; ``None`` when it says nothing of scopes."""
    if "scope" not in claims and "scp" not in claims:
        return None
    return _words(claims.get("scope")) | _words(claims.get("scp"))


def own_principal(claims: Mapping[str, Any]) -> Principal:
    """Return who a token of ours is of.

    Raises:
        Rejected: It has not the claims of one.
    """
    subject, scope, grant = claims.get("sub"), claims.get("scope"), claims.get("gid", "")
    if not isinstance(subject, str) or not isinstance(scope, str) or not isinstance(grant, str):
        raise Rejected(401, "invalid_token", "The access token lacks a claim", guessed=True)
    kind, _, identity = subject.partition(":")
    if kind not in ("user", "client") or not identity:
        raise Rejected(401, "invalid_token", "The access token is of nobody", guessed=True)
    name = claims.get("name", "")
    return Principal(
        id=subject,
        kind="user" if kind == "user" else "client",
        name=name if isinstance(name, str) else "",
        user=identity if kind == "user" else None,
        grant=grant,
        expires=float(claims["exp"]),
        scopes=frozenset(scope.split()),
    )


def foreign_principal(claims: Mapping[str, Any], oauth: OAuth) -> Principal:
    """Return who a token of somebody else's issuer is of.

    Raises:
        Rejected: It is of nobody, no access token, or of nobody who may use the endpoint (403).
    """
    if is_id_token(claims):
        raise Rejected(401, "invalid_token", "This is an ID token; an access token is needed")
    subject = _at(claims, oauth.principal_claim)
    if not isinstance(subject, str) or not subject:
        raise Rejected(401, "invalid_token", f"The access token has no claim {oauth.principal_claim}")
    scopes = scopes_of(claims) or frozenset()
    if oauth.groups is not None:
        member = _words(_at(claims, oauth.groups_claim))
        given = [scopes for group, scopes in oauth.groups if group in member]
        if not given:
            raise Rejected(403, "access_denied", "This needs one of the groups that may use the endpoint")
        scopes = scopes.union(*given)
    name = _at(claims, oauth.name_claim) if oauth.name_claim else None
    names = (name, claims.get("preferred_username"), claims.get("email"), claims.get("name"), subject)
    # Free texts, of which some are another program's: only a digest of them is sure to be unlike any other id. The keys
    # belong to it, because who may choose them may be anybody.
    digest = hashlib.sha256(
        f"{oauth.issuer}\0{oauth.jwks_uri}\0{oauth.principal_claim}\0{subject}".encode()
    ).hexdigest()
    return Principal(
        id=f"oauth:{digest[:32]}",
        kind="user",
        name=next(each for each in names if isinstance(each, str) and each)[:200],
        issuer=oauth.issuer,
        expires=float(claims["exp"]),
        scopes=frozenset(scopes),
    )


def _at(claims: Mapping[str, Any], path: str) -> Any:
    """Return a claim; a name with dots is tried as it is, then as a path."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for step in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found


def _words(value: Any) -> frozenset[str]:
    words = value.split() if isinstance(value, str) else value if isinstance(value, list) else ()
    return frozenset(each for each in words if isinstance(each, str))
