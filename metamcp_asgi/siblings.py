"""How many processes the program that runs this one was told to start, as far as that can be known.

A server for ASGI applications, such as gunicorn or uvicorn, does not tell an application how many of it there are; its
command line and the environment do. What is only in a configuration file of gunicorn's is not seen here.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

__all__ = ["NEEDS_REDIS", "lacking", "processes"]

NEEDS_REDIS: Final = (
    "{count} processes need a Redis that they share: set METAMCP_REDIS_URL, for example "
    "METAMCP_REDIS_URL=redis://127.0.0.1:6379/0, or run one process, or do without what needs it: "
    "METAMCP_STATELESS=true"
)
_NEEDS_KEYS: Final = (
    "{count} processes need keys that they share, to read each other's session ids: set METAMCP_SECRET_KEYS, for "
    "example to what this prints: openssl rand -hex 32"
)

_SERVERS: Final = {"gunicorn": ("GUNICORN_CMD_ARGS",), "uvicorn": (), "hypercorn": (), "granian": ()}
"""Programs whose option is ``--workers``, and the variables in which more options may be."""
_COUNTING: Final = ("gunicorn", "uvicorn")
"""Those that look at ``WEB_CONCURRENCY``."""


def lacking(count: int, *, redis: bool, keys: bool, stateless: bool = False) -> str | None:
    """Return what is to be said of so many processes that cannot serve together, or ``None``.

    Args:
        count: How many there are.
        redis: Whether they share a Redis.
        keys: Whether they share keys.
        stateless: Whether they do without what needs a Redis.
    """
    together = redis or stateless
    if count == 1 or (together and keys):
        return None
    return (_NEEDS_KEYS if together else NEEDS_REDIS).format(count=count)


def processes(arguments: Sequence[str] = sys.argv, environ: Mapping[str, str] = os.environ) -> int:
    """Return how many processes serve, 1 when nothing says so.

    Args:
        arguments: The command line of the program that runs us.
        environ: Its environment.
    """
    path = Path(arguments[0] if arguments else "")
    server = path.parent.name if path.name == "__main__.py" else path.name
    if server not in _SERVERS:
        return 1
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("-w", "--workers", type=int)
    options = [option for name in _SERVERS[server] for option in shlex.split(environ.get(name, ""))]
    try:
        given: int | None = parser.parse_known_args([*options, *arguments[1:]])[0].workers
    except argparse.ArgumentError:  # what it makes of that is the server's matter
        return 1
    if given is None and server in _COUNTING:
        concurrency = environ.get("WEB_CONCURRENCY", "").strip()
        given = int(concurrency) if concurrency.isdecimal() else None
    return given or 1
