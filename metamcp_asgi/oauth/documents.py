"""Clients that are known by the URL of a document about them (CIMD): fetched under guard, checked, kept for a while.

Knows how such a document must be (draft-ietf-oauth-client-id-metadata-document, eras.md AU-41). Who is asked for when
is decided elsewhere: never before a person has signed in, so that nobody else can send us anywhere.
"""

import re
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.metadata import Client, read_metadata
from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.store.services.oauth import KEYED

__all__ = ["Documents", "is_document"]

MAX_BYTES: Final = 16 * 1024
LONGEST_URL: Final = 500
MOST: Final = 500
"""Documents that are kept; the oldest goes for a new one."""
LEAST_SECONDS: Final = 60.0
MOST_SECONDS: Final = 3600.0
_DOTS: Final = re.compile(r"/\.{1,2}(/|$)")
_MAX_AGE: Final = re.compile(r"(?:^|,)\s*max-age=(\d{1,9})\b")


def is_document(client_id: str) -> bool:
    """Tell whether a client id is the URL of a document."""
    return client_id.startswith(("https://", "http://"))


class Documents:
    """The clients that are described by documents.

    Args:
        guard: Where they may be.
        clock: Seconds, never going backwards.
    """

    def __init__(self, guard: Guard, clock: Callable[[], float] = time.monotonic) -> None:
        self._guard = guard
        self._clock = clock
        self._fetcher: Any = None
        self._kept: dict[str, tuple[float, Client]] = {}

    def knows(self, url: str) -> bool:
        """Tell whether a client can be returned without anybody being asked."""
        kept = self._kept.get(url)
        return kept is not None and kept[0] > self._clock()

    async def client(self, url: str) -> Client:
        """Return the client that a document describes.

        Args:
            url: Its URL, which is the client's id.

        Raises:
            OAuthError: There is no such document, or it is not as it must be.
        """
        if self.knows(url):
            return self._kept[url][1]
        if not _may_describe(url):
            raise OAuthError("invalid_client", "a client_id that is a URL must have a path, without dots or a fragment")
        client, seconds = await self._fetched(url)
        if len(self._kept) >= MOST:
            del self._kept[next(iter(self._kept))]
        self._kept.pop(url, None)
        self._kept[url] = (self._clock() + seconds, client)
        return client

    async def aclose(self) -> None:
        """Close all connections."""
        if self._fetcher is not None:
            await self._fetcher.aclose()

    async def _fetched(self, url: str) -> tuple[Client, float]:
        if self._fetcher is None:
            from metamcp_asgi.outward.fetch import Fetcher

            self._fetcher = Fetcher(self._guard)
        try:
            answer = await self._fetcher.fetch(url, max_bytes=MAX_BYTES)
        except MetaMCPError as error:
            raise OAuthError("invalid_client", f"the document of the client cannot be read: {error}") from None
        if answer.status != 200:
            raise OAuthError("invalid_client", f"the document of the client was answered with {answer.status}")
        given = answer.document()
        if given is None:
            raise OAuthError("invalid_client", "the document of the client is no JSON object")
        if given.get("client_id") != url:
            raise OAuthError("invalid_client", "the document of the client is about another client_id")
        metadata = read_metadata(given, "none")
        if metadata.method not in ("none", KEYED) or not metadata.name:
            text = f'the document of a client needs a client_name, and a token_endpoint_auth_method "none" or "{KEYED}"'
            raise OAuthError("invalid_client", text)
        age = _MAX_AGE.search(answer.headers.get("cache-control", ""))
        seconds = float(age[1]) if age else 600.0
        client = Client(
            client_id=url,
            name=metadata.name,
            redirect_uris=metadata.redirect_uris,
            grant_types=tuple(each for each in metadata.grant_types if each != "client_credentials"),
            document=urlsplit(url).netloc,
        ).with_keys(metadata.method, metadata.attributes)
        return client, min(max(seconds, LEAST_SECONDS), MOST_SECONDS)


def _may_describe(url: str) -> bool:
    """Tell whether a URL may be a client's id, as far as it is a URL at all (AU-41)."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return False
    return len(url) <= LONGEST_URL and path not in ("", "/") and "#" not in url and not re.search(_DOTS, path)
