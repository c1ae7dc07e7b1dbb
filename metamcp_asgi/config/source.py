"""Where a gateway's snapshots come from: the seam between it and a file or a store, and the file's side of it.

Knows when a configuration should be read again. Swapping it in is the gateway's.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path
from typing import Protocol

from metamcp_asgi.config.file import load
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.errors import ConfigError

__all__ = ["FileSource", "SnapshotSource"]

logger = logging.getLogger("metamcp")


class SnapshotSource(Protocol):
    """Reads a configuration, and tells when to read it again; ``name`` is what people call it."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def used(self) -> Callable[[bytes], object] | None:
        """What wants to be told the digest of each key that is used; ``None`` when nobody does."""

    def load(self) -> Snapshot:
        """Return the first snapshot; blocks.

        Raises:
            ConfigError: It cannot be read or is wrong.
        """

    async def reload(self) -> Snapshot:
        """Return the present snapshot.

        Raises:
            ConfigError: It cannot be read or is wrong.
        """

    def changes(self) -> AsyncGenerator[None, None]:
        """Yield whenever ``reload`` has something else to tell."""

    async def check(self) -> None:
        """See that it can be reached, if it is anything that can be away.

        Raises:
            Exception: It cannot.
        """

    async def aclose(self) -> None:
        """Let go of what is open."""


class FileSource:
    """A configuration file, which is read again when its content changes.

    Args:
        path: A JSON or YAML file.
        environ: Gives the variables for ``${VAR}``, asked each time.
        transform_localhost: Whether server URLs on ``localhost`` mean the machine that runs our container.
    """

    def __init__(
        self, path: str | Path, environ: Callable[[], Mapping[str, str]], *, transform_localhost: bool = False
    ) -> None:
        self.path = Path(path)
        self.name = str(path)
        self.used = None  # a file is not written
        self._content: bytes | None = None
        self._environ = environ
        self._transform_localhost = transform_localhost

    def load(self) -> Snapshot:
        """Read the file."""
        self._content = _content(self.path)
        found = load(self.path, environ=self._environ(), transform_localhost=self._transform_localhost)
        for name, endpoint in found.endpoints.items():
            if endpoint.oauth is not None and not endpoint.oauth.issuer:
                # It needs a place for people, clients and grants.
                reason = 'needs an "issuer": our own authorization server is there with a database only'
                raise ConfigError(reason, path=f"endpoints.{name}.oauth", source=self.name)
        return found

    async def reload(self) -> Snapshot:
        """Read the file again, without holding up the event loop."""
        return await asyncio.to_thread(self.load)

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield when the file's content is another than was read, however an editor or a deployment replaces it."""
        from watchfiles import awatch

        path = self.path
        # Folders, because a file that is replaced is another file; where a link leads, too.
        events = awatch(*{path.absolute().parent, path.resolve().parent}, recursive=False, debounce=200, step=50)
        event = asyncio.ensure_future(anext(events))
        try:
            # From its first step on it watches, so a change since the file was read is either seen now or told later.
            await asyncio.sleep(0)
            while True:
                if (now := _content(path)) != self._content and now is not None:
                    self._content = now
                    yield
                await event
                event = asyncio.ensure_future(anext(events))
        except OSError as error:
            logger.warning("%s is not watched (%s); send SIGHUP to reload it", path, error)
        finally:
            event.cancel()
            await asyncio.gather(event, return_exceptions=True)

    async def check(self) -> None:
        """Do nothing: what was read from a file is served, whatever becomes of the file."""

    async def aclose(self) -> None:
        """Do nothing: a file is not kept open."""


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        # Half-way through being replaced; the next event tells of the other half.
        return None
