"""The public keys of one issuer: kept, renewed in the background, and asked for anew when a token names an unknown one.

Knows nothing of where keys come from; that is the ``Load`` that it is given.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from jwt import PyJWK

from metamcp_asgi.config.jwk import public_key
from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.tasks import Tasks

__all__ = ["KeySet", "Load"]

logger = logging.getLogger("metamcp.oauth")

FRESH: Final = 600.0
"""Seconds after which keys are read again, in the background."""

PAUSE: Final = 10.0
"""Seconds after which keys may be read again, on average: a token can name any key it likes."""

BURST: Final = 5.0
"""How often they may be read at once, so that a key that was made just now is found."""

MOST: Final = 100
"""Keys of a set that are looked at."""

Load: TypeAlias = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]
"""Returns the keys of an issuer, each as a JWK."""


class KeySet:
    """The keys of one issuer.

    Args:
        name: The issuer, for the log.
        load: Reads its keys.
        tasks: Owns what is read in the background.
        clock: Seconds, never going backwards.
    """

    def __init__(self, name: str, load: Load, tasks: Tasks, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._load = load
        self._tasks = tasks
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._read = -FRESH
        self._spare = BURST
        self._counted = clock()
        self._reading: asyncio.Task[Any] | None = None

    async def key(self, kid: str | None) -> PyJWK | None:
        """Return a key, or ``None`` if the issuer has no such one.

        Args:
            kid: Its id; ``None`` for that of an issuer that has only one.
        """
        found = self._find(kid)
        age = self._clock() - self._read
        if found is None:
            if self._reading is not None or self._may_read():
                await asyncio.shield(self._renew())
                found = self._find(kid)
        elif age >= FRESH:
            self._renew()
        return found

    def knows(self, kid: object) -> bool:
        """Tell whether a key can be returned without anybody being asked."""
        return (kid is None or isinstance(kid, str)) and self._find(kid) is not None

    def _may_read(self) -> bool:
        now = self._clock()
        self._spare = min(BURST, self._spare + (now - self._counted) / PAUSE)
        self._counted = now
        if self._spare < 1:
            return False
        self._spare -= 1
        return True

    def _find(self, kid: str | None) -> PyJWK | None:
        if kid is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _renew(self) -> asyncio.Task[Any]:
        """Return the reading that is going on, or a new one."""
        if self._reading is None:
            self._read = self._clock()
            self._reading = self._tasks.start(self._renewed(), f"read the keys of {self._name}")
        return self._reading

    async def _renewed(self) -> None:
        try:
            self._keys = _usable(await self._load())
        except MetaMCPError as error:
            # What was known stays good: an issuer that is away for a while has not lost its keys.
            logger.warning("The keys of %s cannot be read: %s", self._name, error)
        finally:
            self._reading = None


def _usable(jwks: Sequence[Mapping[str, Any]]) -> dict[str, PyJWK]:
    found: dict[str, PyJWK] = {}
    for jwk in jwks[:MOST]:
        if (key := public_key(jwk)) is not None:  # else of a kind that we have no use for
            found[str(jwk.get("kid", ""))] = key
    return found
