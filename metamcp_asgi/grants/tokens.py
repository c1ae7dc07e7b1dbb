"""The token endpoint: codes, refresh tokens and our own credentials become access tokens (RFC 6749, RFC 8707)."""

import base64
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Struct

from metamcp_asgi.config.snapshot import GrantSpec
from metamcp_asgi.grants.fetch import Fetch, GrantError, Refused
from metamcp_asgi.grants.proof import proof
from metamcp_asgi.grants.registration import KEYED, Client

if TYPE_CHECKING:
    import httpx2

__all__ = ["Tokens", "by_code", "by_credentials", "by_refresh"]

_FINAL: Final = frozenset({"invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "access_denied"})
"""Errors that the same request would get again (RFC 6749 section 5.2)."""


class Tokens(Struct, frozen=True):
    """What a token endpoint gave; ``expires`` in seconds since the epoch, ``None`` when it does not say."""

    access: str
    refresh: str | None = None
    expires: float | None = None
    scope: str | None = None

    def __repr__(self) -> str:
        return f"Tokens(<hidden>, expires={self.expires!r}, scope={self.scope!r})"


async def by_code(
    fetch: Fetch,
    endpoint: str,
    client: Client,
    spec: GrantSpec,
    *,
    code: str,
    verifier: str,
    redirect_uri: str,
    resource: str,
    now: float,
) -> Tokens:
    """Exchange an authorization code (RFC 6749 section 4.1.3, RFC 7636 section 4.5).

    Args:
        fetch: Sends requests.
        endpoint: The token endpoint.
        client: Who we are there.
        spec: What is configured for the server, with our key if that is how we show who we are.
        code: The code.
        verifier: What its challenge was made of.
        redirect_uri: Where the code was sent.
        resource: The server that the token is for.
        now: The present time, in seconds since the epoch.

    Raises:
        Refused: The code is not good.
        GrantError: The endpoint was not reached, or did not answer as it should.
    """
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
    return await _ask(fetch, endpoint, client, spec, form | {"resource": resource}, now)


async def by_refresh(
    fetch: Fetch, endpoint: str, client: Client, spec: GrantSpec, *, tokens: Tokens, resource: str, now: float
) -> Tokens:
    """Exchange a refresh token (RFC 6749 section 6); what the answer leaves out stays as it was.

    Args:
        fetch: Sends requests.
        endpoint: The token endpoint.
        client: Who we are there.
        spec: What is configured for the server, with our key if that is how we show who we are.
        tokens: The present ones.
        resource: The server that the token is for.
        now: The present time, in seconds since the epoch.

    Raises:
        Refused: The refresh token is not good, or no longer.
        GrantError: The endpoint was not reached, or did not answer as it should.
    """
    if tokens.refresh is None:
        raise Refused("invalid_grant", "the access token has expired, and there is no refresh token")
    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh, "resource": resource}
    got = await _ask(fetch, endpoint, client, spec, form, now)
    return msgspec.structs.replace(
        got,
        refresh=got.refresh if got.refresh is not None else tokens.refresh,
        scope=got.scope if got.scope is not None else tokens.scope,
    )


async def by_credentials(
    fetch: Fetch, endpoint: str, client: Client, spec: GrantSpec, *, scope: str | None, resource: str, now: float
) -> Tokens:
    """Ask in our own name (RFC 6749 section 4.4), without a person.

    Args:
        fetch: Sends requests.
        endpoint: The token endpoint.
        client: Who we are there, with a secret or a key.
        spec: What is configured for the server, with our key if that is how we show who we are.
        scope: What to ask for.
        resource: The server that the token is for.
        now: The present time, in seconds since the epoch.

    Raises:
        Refused: The issuer does not let us.
        GrantError: The endpoint was not reached, or did not answer as it should.
    """
    form = {"grant_type": "client_credentials", "resource": resource} | ({"scope": scope} if scope else {})
    return await _ask(fetch, endpoint, client, spec, form, now)


async def _ask(
    fetch: Fetch, endpoint: str, client: Client, spec: GrantSpec, form: dict[str, str], now: float
) -> Tokens:
    import httpx2

    headers = {"Accept": "application/json"}
    # Beside a secret in the header, the id in the form is not needed; some look only there (RFC 6749 section 3.2.1).
    form = {**form, "client_id": client.id}
    if client.method == "client_secret_basic":
        # RFC 6749 section 2.3.1: both are form-encoded first.
        pair = f"{quote(client.id, safe='')}:{quote(client.secret or '', safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    elif client.method == "client_secret_post":
        form["client_secret"] = client.secret or ""
    elif client.method == KEYED:
        form |= proof(spec, client, now)
    return _read(await fetch(httpx2.Request("POST", endpoint, data=form, headers=headers)), client, now)


def _read(response: "httpx2.Response", client: Client, now: float) -> Tokens:
    try:
        told: Any = msgspec.json.decode(response.content)
    except (ValueError, RecursionError):  # no JSON, no UTF-8; nested without end
        told = None
    if not isinstance(told, dict):
        raise GrantError(f"is authorized by {client.issuer}, whose token endpoint answers HTTP {response.status_code}")
    error = told.get("error")
    if response.status_code != 200 or error is not None:
        code = error if isinstance(error, str) and error.isprintable() else f"HTTP {response.status_code}"
        reason = f"is authorized by {client.issuer}, which refuses a token: {code[:100]}"
        raise Refused(code, reason) if code in _FINAL else GrantError(reason)
    access, kind = told.get("access_token"), told.get("token_type")
    if not isinstance(access, str) or not _sendable(access) or not isinstance(kind, str) or kind.lower() != "bearer":
        raise GrantError(f"is authorized by {client.issuer}, which gave no bearer token")
    refresh, scope = told.get("refresh_token"), told.get("scope")
    seconds = told.get("expires_in")
    if isinstance(seconds, str) and seconds.isdecimal():  # some say it so
        seconds = int(seconds)
    return Tokens(
        access,
        refresh if isinstance(refresh, str) else None,
        now + seconds if isinstance(seconds, int | float) and seconds >= 0 else None,
        scope if isinstance(scope, str) else None,
    )


def _sendable(token: str) -> bool:
    """Tell whether a token can stand in a header (RFC 6750 section 2.1)."""
    return bool(token) and all("!" <= character <= "~" for character in token)
