"""What the commands manage: the store at hand, or a gateway that runs somewhere; options and environment tell.

A key is never taken from the command line, which every user of the machine can read.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from metamcp_asgi.commands.configuration import with_store
from metamcp_asgi.commands.terminal import faults
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.settings import read_environment

if TYPE_CHECKING:
    from metamcp_asgi.commands.reach import Reach

__all__ = ["options_where", "with_reach"]

Answer = TypeVar("Answer")

_LONGEST_KEY: Final = 4096


def options_where(*, own_url: bool = False) -> list[click.Option]:
    """Return the options that tell what is managed.

    Args:
        own_url: Whether what is made has a URL of its own. Then ``--url`` says neither: who means the server's would
            send it the gateway's key.
    """
    names = ["--gateway"] if own_url else ["--url", "--gateway"]
    shown = "Manage the gateway that runs here: http://host:12008.  [default: METAMCP_URL, else the database]"
    options = [click.Option([*names, "gateway"], metavar="URL", help=shown)]
    if own_url:
        options.append(click.Option(["--url", "either"], hidden=True, expose_value=False, callback=_ambiguous))
    return [
        *options,
        click.Option(
            ["--key-stdin"], is_flag=True, help="Read its API key from the standard input, not METAMCP_API_KEY."
        ),
        click.Option(
            ["--database"],
            metavar="URL",
            help="Manage this database.  [default: DATABASE_URL, else SQLite in the user's data folder]",
        ),
    ]


def with_reach(work: Callable[["Reach"], Awaitable[Answer]], values: Mapping[str, Any]) -> Answer:
    """Run ``work`` on what options and environment name, and turn errors of ours into messages.

    Args:
        work: What to do.
        values: The values of ``options_where``.
    """
    gateway, database = values["gateway"], values["database"]
    if gateway is not None and database is not None:
        raise click.UsageError("--database and --url name two things to manage; choose one")
    with faults():
        environ = read_environment()
        url = gateway or (environ.get("METAMCP_URL", "").strip() if database is None else "")
        key = environ.get("METAMCP_API_KEY", "").strip()
        if url and values["key_stdin"]:
            key = sys.stdin.read(_LONGEST_KEY).strip()
    if url:
        with faults():
            return asyncio.run(_remotely(work, url, key))
    if values["key_stdin"]:
        raise click.UsageError("--key-stdin is for a gateway, which --url names")

    from metamcp_asgi.commands.reach import Local

    return with_store(lambda store: work(Local(store)), database)


async def _remotely(work: Callable[["Reach"], Awaitable[Answer]], url: str, key: str) -> Answer:
    from metamcp_asgi.commands.reach import Remote

    if not key:
        raise ConfigError(f"managing {url} needs an admin-scoped API key, in METAMCP_API_KEY or with --key-stdin")
    gateway = Remote(url, key)
    try:
        return await work(gateway)
    finally:
        await gateway.aclose()


def _ambiguous(_ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise click.UsageError("--url could mean either here: --server-url is the server's, --gateway the gateway's")
