"""Serves the companion's socket, which no other user can reach and no second companion can take."""

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from metamcp_asgi.errors import ConfigError
from metamcp_asgi.upstream.companion.connection import Connection
from metamcp_asgi.upstream.companion.hub import Hub

__all__ = ["serve_socket"]


@contextlib.asynccontextmanager
async def serve_socket(path: Path, hub: Hub) -> AsyncIterator[None]:
    """Let workers use the servers of a hub for the length of an ``async with`` block; closes the hub.

    Args:
        path: Where the socket is made, with mode 0600. A lock of the same name with ``.lock`` stays beside it.
        hub: The servers.

    Raises:
        ConfigError: The socket cannot be made there.
    """
    connections: set[Connection] = set()
    with _bound(path) as listener:
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: Connection(hub, connections).link, sock=listener
        )
        try:
            yield
        finally:
            server.close()
            await asyncio.gather(*(connection.aclose() for connection in connections))
            await hub.aclose()


@contextlib.contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    try:
        with contextlib.ExitStack() as stack:
            # Held until the process ends, however it does: a socket that nobody locks is a leftover.
            lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISSOCK(path.lstat().st_mode):
                    raise ConfigError("is there already and is no socket", source=str(path))
                path.unlink()
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            mask = os.umask(0o177)
            try:
                listener.bind(str(path))
            finally:
                os.umask(mask)
            stack.callback(path.unlink, missing_ok=True)
            held = stack.pop_all()
    except BlockingIOError:
        raise ConfigError("another companion listens there already", source=str(path)) from None
    except OSError as error:
        reason = "the path is too long for a socket" if error.errno in (None, errno.ENAMETOOLONG) else error.strerror
        raise ConfigError(f"the socket cannot be made: {reason}", source=str(path)) from None
    with held:
        yield listener
