"""Where the keys of somebody else's issuer are: its discovery document and its JWKS, over a guarded fetch.

Knows OpenID Connect Discovery and RFC 8414. Knows nothing of tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from metamcp_asgi.config.snapshot import OAuth
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.outward.fetch import Fetcher

__all__ = ["IssuerUnusable", "read_keys"]


class IssuerUnusable(MetaMCPError):
    """An issuer's documents are not what they should be."""


async def read_keys(oauth: OAuth, fetcher: Fetcher) -> Sequence[Mapping[str, Any]]:
    """Return the keys of an issuer.

    Args:
        oauth: Names it, and where its keys are if that is not in its metadata.
        fetcher: Asks it.

    Raises:
        IssuerUnusable: It has no such documents, or they are somebody else's.
        OutwardRefused: A URL may not be asked.
        OutwardFailed: It does not answer.
    """
    where = oauth.jwks_uri or await _jwks_uri(oauth.issuer, fetcher)
    document = await _document(where, fetcher)
    keys = document.get("keys") if document is not None else None
    if not isinstance(keys, list):
        raise IssuerUnusable(f"there are no keys at {where}")
    return keys


async def _jwks_uri(issuer: str, fetcher: Fetcher) -> str:
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    for place in (
        f"{origin}{path}/.well-known/openid-configuration",
        f"{origin}/.well-known/oauth-authorization-server{path}",
    ):
        document = await _document(place, fetcher)
        if document is None:
            continue
        # Else anybody who can put a document there could speak for another issuer (RFC 8414 3.3).
        if document.get("issuer") != issuer:
            raise IssuerUnusable(f'{place} names another issuer; "issuer" must be exactly the one that is there')
        uri = document.get("jwks_uri")
        if isinstance(uri, str):
            return uri
    raise IssuerUnusable('it has no discovery document with a jwks_uri; set "jwksUri"')


async def _document(url: str, fetcher: Fetcher) -> Mapping[str, Any] | None:
    answer = await fetcher.fetch(url)
    return answer.document() if answer.status == 200 else None
