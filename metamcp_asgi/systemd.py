"""What systemd and a service tell each other: sockets that are open before the service runs, and that it is ready.

Does nothing where systemd does not run the process. Source: sd_listen_fds(3), sd_notify(3).
"""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["listeners", "notify", "place"]

_FIRST: Final = 3
"""The first descriptor that is passed on."""


def listeners(environ: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """Return the sockets to listen on, which are the caller's from now on; none when there are none for us.

    Args:
        environ: The environment.
    """
    found = [socket.socket(fileno=number) for number in _given(environ)]
    for each in found:
        each.set_inheritable(False)
    return found


def place(environ: Mapping[str, str] = os.environ) -> tuple[str, int] | None:
    """Return address and port of the first of these sockets, or of one that others than this machine may reach.

    Args:
        environ: The environment.

    Returns:
        ``None`` when there are none, or those there are belong to this machine's file system.
    """
    found = []
    for number in _given(environ):
        with contextlib.closing(socket.socket(fileno=os.dup(number))) as listener:
            if listener.family in (socket.AF_INET, socket.AF_INET6):
                found.append(listener.getsockname()[:2])
    beyond = [each for each in found if not each[0].startswith("127.") and each[0] != "::1"]
    return next(iter([*beyond, *found]), None)


def notify(state: str, environ: Mapping[str, str] = os.environ) -> None:
    """Tell systemd how the service is doing, as far as it wants to know.

    Args:
        state: ``READY=1``, for example.
        environ: The environment.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # A service that serves is not ended because nobody listens to its news.
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
        there.sendall(state.encode())


def _given(environ: Mapping[str, str]) -> Iterator[int]:
    if environ.get("LISTEN_PID") == str(os.getpid()) and environ.get("LISTEN_FDS", "").isdecimal():
        yield from range(_FIRST, _FIRST + int(environ["LISTEN_FDS"]))
