"""Asks a registry: in bounds of time, size and number, and not twice for the same within some minutes.

The registry is the operator's choice, and yet asked under ``outward.Guard``, as all is that we fetch for people.
Knows the addresses of the generic registry API, v0.1; knows nothing of who asks.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from metamcp_asgi.errors import ConfigError, MetaMCPError
from metamcp_asgi.outward.guard import Guard, OutwardRefused
from metamcp_asgi.registry.listed import Listed, Page, Unreadable, read_page, read_server

__all__ = ["Registry", "RegistryFailed"]

SECONDS: Final = 5.0
"""How long one answer may take: a person waits for it."""
MAX_BYTES: Final = 2 * 1024 * 1024
"""How large it may be."""
KEPT_SECONDS: Final = 300.0
MOST_KEPT: Final = 64
AT_ONCE: Final = 4
"""Requests that are under way at a time."""
_STEPS: Final = (".", "..")
"""What no quoting keeps from being a step to another address (RFC 3986, 5.2.4)."""
_Told = TypeVar("_Told", Page, Listed)


class RegistryFailed(MetaMCPError):
    """The registry gave no answer that can be used; the message is safe to show.

    Args:
        reason: What is wrong.
        found: Whether there is such a thing at all, as far as it is known.
    """

    def __init__(self, reason: str, *, found: bool = True) -> None:
        self.found = found
        super().__init__(reason)


class Registry:
    """An MCP registry.

    Args:
        url: Its URL, below which is its API.
        guard: Where requests may go.
        clock: Seconds, never going backwards.
    """

    def __init__(self, url: str, guard: Guard, clock: Callable[[], float] = time.monotonic) -> None:
        self.url = url
        self._guard = guard
        self._clock = clock
        self._kept: dict[str, tuple[float, Page | Listed]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    @property
    def host(self) -> str:
        """The name of its host, for people."""
        return urlsplit(self.url).hostname or self.url

    async def search(self, words: str = "", *, after: str | None = None, limit: int = 20) -> Page:
        """Return the newest versions of servers whose name has some words in it.

        Args:
            words: What is searched for; empty: all.
            after: The cursor of the page.
            limit: How many servers it has at most.

        Raises:
            RegistryFailed: The registry cannot be asked, or gave no answer that can be used.
        """
        query = {"version": "latest", "limit": str(limit), "search": words, "cursor": after or ""}
        asked = urlencode({name: value for name, value in query.items() if value})
        return await self._told(f"/v0.1/servers?{asked}", read_page)

    async def server(self, name: str, version: str) -> Listed:
        """Return one version of a server.

        Raises:
            RegistryFailed: There is none, or the registry cannot be asked, or gave no answer that can be used.
        """
        if not {name, version}.isdisjoint(_STEPS):
            raise RegistryFailed(f"{self.host} has no such server", found=False)
        return await self._told(f"/v0.1/servers/{quote(name, safe='')}/versions/{quote(version, safe='')}", read_server)

    async def _told(self, path: str, read: Callable[[bytes], _Told]) -> _Told:
        kept = self._kept.get(path)
        if kept is not None and kept[0] > self._clock():
            told: _Told = kept[1]  # type: ignore[assignment]
            return told
        async with self._slots:
            body = await self._fetched(path)
        try:
            told = read(body)
        except Unreadable as error:
            reason = f"the registry {self.host} answered with something else than a registry does: {error}"
            raise RegistryFailed(reason) from None
        if len(self._kept) >= MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept.pop(path, None)
        self._kept[path] = (self._clock() + KEPT_SECONDS, told)
        return told

    async def _fetched(self, path: str) -> bytes:
        try:
            from metamcp_asgi.outward.fetch import Fetcher, OutwardFailed
        except ConfigError:
            raise RegistryFailed('asking a registry needs aiohttp: pip install "metamcp-asgi[oauth]"') from None
        fetcher = Fetcher(self._guard, seconds=SECONDS)
        try:
            answer = await fetcher.fetch(self.url + path, max_bytes=MAX_BYTES)
        except OutwardRefused as error:
            reason = f"the registry {self.host} may not be asked: {error}; METAMCP_OUTWARD_ALLOWED names what may be"
            raise RegistryFailed(reason) from None
        except OutwardFailed as error:
            raise RegistryFailed(f"the registry {error}") from None
        finally:
            await fetcher.aclose()
        if answer.status == 404:
            raise RegistryFailed(f"the registry {self.host} has no such server", found=False)
        if answer.status != 200:
            raise RegistryFailed(f"the registry {self.host} answered with {answer.status}")
        return answer.body
