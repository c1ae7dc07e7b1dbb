"""A person agrees: the authorization code flow with PKCE, from the first redirect to the tokens (RFC 6749, RFC 7636).

What must be remembered between the two requests of the browser travels sealed in ``state``, so any process can end what
another began. A state is good once, for a few minutes, for the browser that began. Knows no HTTP of our own pages.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

from msgspec import Struct

from metamcp_asgi.config.snapshot import GrantSpec
from metamcp_asgi.grants.discovery import Found, Issuer
from metamcp_asgi.grants.fetch import Fetch, GrantError, Refused
from metamcp_asgi.grants.registration import Client
from metamcp_asgi.grants.tokens import Tokens, by_code

__all__ = ["STATE_SECONDS", "Pending", "authorization_url", "begin", "finish", "same_browser"]

STATE_SECONDS: Final = 600
"""How long a person may take to agree."""


class Pending(Struct, frozen=True):
    """What is remembered of a flow that has begun.

    Args:
        id: Makes it good once.
        key: The server, by the key of its grants.
        user: On whose behalf; ``None`` for everybody.
        by: Who began it.
        issuer: Whom they were sent to; the answer must come from there.
        client: Who we said that we are.
        url: The server's URL at that time.
        verifier: What the challenge was made of.
        resource: The server that the token will be for.
        scope: What was asked for.
        browser: The digest of the secret that only the browser that began has.
        expires: When it ends, in seconds since the epoch.
    """

    id: str
    key: str
    user: str | None
    by: str
    issuer: str
    client: Client
    url: str
    verifier: str
    resource: str
    scope: str | None
    browser: bytes
    expires: float


def begin(
    found: Found, client: Client, *, url: str, key: str, user: str | None, by: str, browser: str, now: float
) -> Pending:
    """Return what a new flow has to remember.

    Args:
        found: What the server asks for.
        client: Who we are at its issuer.
        url: The server's URL.
        key: The server, by the key of its grants.
        user: On whose behalf; ``None`` for everybody.
        by: Who begins it.
        browser: A secret that only their browser has.
        now: The present time, in seconds since the epoch.

    Raises:
        GrantError: The issuer does not support PKCE with S256, without which a code could be stolen (AU-21).
    """
    if not found.issuer.pkce:
        raise GrantError(f"is authorized by {found.issuer.name}, which does not support PKCE with S256; we need that")
    return Pending(
        id=secrets.token_urlsafe(16),
        key=key,
        user=user,
        by=by,
        issuer=client.issuer,
        client=client,
        url=url,
        verifier=secrets.token_urlsafe(48),
        resource=found.resource,
        scope=found.scope,
        browser=_digest(browser),
        expires=now + STATE_SECONDS,
    )


def authorization_url(found: Found, client: Client, pending: Pending, *, state: str, redirect_uri: str) -> str:
    """Return where to send the person.

    Args:
        found: What the server asks for.
        client: Who we are at its issuer.
        pending: What the flow remembers.
        state: The same, sealed.
        redirect_uri: Where they come back to.
    """
    challenge = base64.urlsafe_b64encode(_digest(pending.verifier)).rstrip(b"=").decode()
    query = {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": redirect_uri,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        "resource": pending.resource,
    }
    if pending.scope:
        query["scope"] = pending.scope
        if "offline_access" in pending.scope.split():
            query["prompt"] = "consent"  # OpenID Connect Core section 11
    endpoint = found.issuer.authorization_endpoint
    return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"


def same_browser(pending: Pending, browser: str) -> bool:
    """Tell whether the browser that comes back is the one that began."""
    return hmac.compare_digest(pending.browser, _digest(browser))


async def finish(
    fetch: Fetch,
    pending: Pending,
    issuer: Issuer,
    client: Client,
    spec: GrantSpec,
    answer: Mapping[str, str],
    *,
    redirect_uri: str,
    now: float,
) -> Tokens:
    """Return the tokens for what the authorization server answered.

    Args:
        fetch: Sends requests.
        pending: What the flow remembers, whose state has been found to be good.
        issuer: Its issuer, as it describes itself now.
        client: Who we are there.
        spec: What is configured for the server.
        answer: The query with which the browser came back.
        redirect_uri: Where it did.
        now: The present time, in seconds since the epoch.

    Raises:
        Refused: The person declined, or the code is not good.
        GrantError: The answer is not from whom it should be, or no token was given.
    """
    given = answer.get("iss")
    # Nothing else of an answer from elsewhere is looked at or shown (RFC 9207 section 2.4, AU-23).
    if issuer.name != pending.issuer or (given is None and issuer.names_itself):
        raise GrantError("has an authorization server that does not say who it is, though it said that it would")
    if given is not None and given != pending.issuer:
        raise GrantError("got an answer from another authorization server than was asked")
    if (error := answer.get("error")) is not None:
        said = error[:100] if error.isprintable() else "an error"
        raise Refused(said, f"was not authorized: {pending.issuer} answered {said}")
    code = answer.get("code")
    if not code:
        raise GrantError("got an answer without a code from its authorization server")
    return await by_code(
        fetch,
        issuer.token_endpoint,
        client,
        spec,
        code=code,
        verifier=pending.verifier,
        redirect_uri=redirect_uri,
        resource=pending.resource,
        now=now,
    )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
