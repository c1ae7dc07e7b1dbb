"""What ``metamcp serve`` does before it serves from the store: whatever ``BOOTSTRAP_*`` variables ask for."""

import asyncio
from collections.abc import Mapping

import click

from metamcp_asgi.settings import Settings, read_environment
from metamcp_asgi.store.bootstrap import Report, bootstrap
from metamcp_asgi.store.repository import Store

__all__ = ["prepare"]


def prepare(database: str | None, settings: Settings) -> None:
    """Make in the store what the environment asks for, and print the keys that were made up for it.

    Args:
        database: The store, as in ``Store.open``.
        settings: How the process runs.

    Raises:
        ConfigError: The store cannot be used, or ``BOOTSTRAP_FAIL_HARD`` is set and something is wrong.
    """
    environ = read_environment()
    if any(name.startswith("BOOTSTRAP_") for name in environ):
        for name, key in asyncio.run(_bootstrap(database, environ, settings)).keys:
            # Shown once, here, and nowhere else: the store keeps only its digest.
            click.echo(f"API key {name}: {key}")


async def _bootstrap(database: str | None, environ: Mapping[str, str], settings: Settings) -> Report:
    store = await Store.open(database, environ=environ, secret_keys=settings.secret_keys)
    try:
        return await bootstrap(store, environ)
    finally:
        await store.aclose()
