"""Token exchange (RFC 8693): a token of the people's OpenID provider for one of ours, read and checked.

Taken are ID tokens of the client as which people sign in here, and access tokens of the provider that are for us. Only
the provider says who somebody is here: the ``issuer`` of an endpoint is that endpoint's matter, because a member may
name any. What a subject token is for and may do, the token of ours is and does at most.
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.metadata import Client
from metamcp_asgi.oauth.resources import endpoint_at
from metamcp_asgi.oauth.vouching import Vouched, Vouching
from metamcp_asgi.signin.provider import known_of
from metamcp_asgi.store.services.oauth import TOKEN_EXCHANGE
from metamcp_asgi.tokens.claims import audiences_of, is_id_token, scopes_of, type_of

__all__ = ["ACCESS_TOKEN", "Exchange"]

_PREFIX: Final = "urn:ietf:params:oauth:token-type:"
ACCESS_TOKEN: Final = f"{_PREFIX}access_token"
ID_TOKEN: Final = f"{_PREFIX}id_token"
TAKEN: Final = (ID_TOKEN, ACCESS_TOKEN, f"{_PREFIX}jwt")
"""Types of subject tokens; one that is only called a JWT must be an access token."""

LONGEST_SECONDS: Final = 30 * 86400
"""How long a subject token may be good from now on: what is granted for it is kept that long."""

_TYPES: Final = {ID_TOKEN: ("", "jwt"), ACCESS_TOKEN: ("", "jwt", "at+jwt")}
"""What the header may say that it is (RFC 8725 3.11): no logout token, no assertion, nothing of tomorrow."""

_BOUND: Final = {
    "cnf": "it is bound to a key, and tokens of ours are not",
    "act": "somebody acts with it in the person's place, of whom tokens of ours would not tell",
    "may_act": "it says who may act with it, which is not understood here",
    "events": "it is a security event",
}


class Exchange:
    """Reads subject tokens.

    Args:
        vouching: Knows the provider and its people.
    """

    def __init__(self, vouching: Vouching) -> None:
        self.vouching = vouching

    async def read(self, form: Mapping[str, str], client: Client, base: str) -> Vouched:
        """Return what a subject token says.

        Args:
            form: The request.
            client: Who makes it.
            base: The public URL of the gateway.

        Raises:
            OAuthError: The client may not ask, or not for this, or the token is not good (RFC 8693 2.2.2).
        """
        kind = _kind(form, client)
        header, claims = await self.vouching.signed(form["subject_token"])
        refused = self.vouching.refused
        if type_of(header) not in _TYPES[kind]:
            raise refused("the typ of its header is none of such a token")
        for name, why in _BOUND.items():
            if name in claims:
                raise refused(f"{why} ({name})")
        self.vouching.check_times(claims, LONGEST_SECONDS, ("iat",) if kind == ID_TOKEN else ())
        self.vouching.text(claims, "sub")
        wanted, scope = _wanted(form), scopes_of(claims)
        if kind == ID_TOKEN:
            self._check_id_token(claims, scope)
            resource = wanted or base
        else:
            resource, scope = self._within(claims, wanted, base), scope or frozenset()  # as where it is shown itself
        return Vouched(
            id=hashlib.sha256(msgspec.json.encode(claims, order="sorted")).hexdigest(),
            known=known_of(claims),
            resource=resource,
            scope=None if scope is None else " ".join(sorted(scope)),
            until=datetime.fromtimestamp(claims["exp"], UTC),
            once=False,
        )

    def _check_id_token(self, claims: Mapping[str, Any], scope: frozenset[str] | None) -> None:
        client_id = self.vouching.provider.oidc.client_id
        # Alone: another that it is for could come with it, too, in the person's name.
        if claims.get("aud") not in (client_id, [client_id]) or claims.get("azp", client_id) != client_id:
            raise self.vouching.refused("it is for another client than the one as which people sign in here")
        if claims.get("typ", "ID") != "ID" or claims.get("token_use", "id") != "id" or scope is not None:
            raise self.vouching.refused("it is no ID token")

    def _within(self, claims: Mapping[str, Any], wanted: str, base: str) -> str:
        """Return what a token will be for, of what the access token is for."""
        if (
            is_id_token(claims)
            or claims.get("typ", "Bearer") != "Bearer"
            or claims.get("token_use", "access") != "access"
        ):
            raise self.vouching.refused("it is no access token")
        ours = {each: endpoint for each in audiences_of(claims) if (endpoint := endpoint_at(base, each)) is not None}
        if not ours:
            raise self.vouching.refused(f"its aud must be {base}/ or the URL of an endpoint")
        if not wanted:
            if "" in ours.values():
                return base
            if len(set(ours.values())) == 1:
                return min(ours)
            raise OAuthError("invalid_target", "the subject token is for several endpoints; resource must name one")
        if "" not in ours.values() and endpoint_at(base, wanted) not in ours.values():
            raise OAuthError("invalid_target", "resource is not what the subject token is for")
        return wanted


def _kind(form: Mapping[str, str], client: Client) -> str:
    """Return what the subject token is said to be, an ID token or an access token."""
    if not client.proven or TOKEN_EXCHANGE not in client.grant_types:
        raise OAuthError("unauthorized_client", "this client may exchange no tokens")
    if "actor_token" in form or "actor_token_type" in form:
        raise OAuthError("invalid_request", "actor_token is not taken: a token of ours names the person and the client")
    if form.get("requested_token_type", ACCESS_TOKEN) != ACCESS_TOKEN:
        raise OAuthError("invalid_request", f"requested_token_type can only be {ACCESS_TOKEN}")
    kind = form.get("subject_token_type", "")
    if kind not in TAKEN:
        raise OAuthError("invalid_request", f"subject_token_type must be {', '.join(TAKEN)}")
    if not form.get("subject_token"):
        raise OAuthError("invalid_request", "subject_token is missing")
    if kind != ID_TOKEN:
        return ACCESS_TOKEN
    if not client.owned:  # an ID token says who somebody is, and not that whoever has it may come in their place
        raise OAuthError("unauthorized_client", "only a client that an admin made for it may exchange ID tokens")
    return ID_TOKEN


def _wanted(form: Mapping[str, str]) -> str:
    """Return what the client wants a token for, by ``resource`` or ``audience``; empty when it does not say."""
    wanted = {form[name].rstrip("/") for name in ("resource", "audience") if form.get(name)}
    if len(wanted) > 1:
        raise OAuthError("invalid_target", "resource and audience must name the same")
    return next(iter(wanted), "")
