"""The command ``metamcp``: serve a configuration, or check it; ``commands`` has those that manage things."""

import asyncio
import ipaddress
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec.structs import replace

from metamcp_asgi import __version__
from metamcp_asgi.commands import LazyGroup
from metamcp_asgi.commands.terminal import faults
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.logs.setup import set_up
from metamcp_asgi.readers import LEVELS
from metamcp_asgi.settings import Settings
from metamcp_asgi.systemd import place

if TYPE_CHECKING:
    from metamcp_asgi.gateway import Gateway

__all__ = ["main"]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="metamcp")
def main() -> None:
    """Many MCP servers behind one endpoint, for any client of any revision."""


@main.command()
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--database", metavar="URL", help="Serve this database.  [default: DATABASE_URL, or SQLite in your data]")
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1, or METAMCP_HOST]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on, 0 for any.  [default: 12008]")
@click.option(
    "--workers", type=click.IntRange(1, 1024), help="Processes that serve; more than 1 need Redis.  [default: 1]"
)
@click.option("--allow-open", is_flag=True, help="Serve endpoints without a key on other addresses than loopback.")
@click.option("--access-log", is_flag=True, default=None, help="Log every request.")
@click.option("--log-level", type=click.Choice(list(LEVELS)), help="Log this and what is worse.  [default: info]")
def serve(
    config: Path | None,
    database: str | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    allow_open: bool,
    access_log: bool | None,
    log_level: str | None,
) -> None:
    """Serve the MCP servers of CONFIG, a JSON or YAML file, or without it those in the database."""
    from metamcp_asgi.gateway import Gateway
    from metamcp_asgi.serve import check_free, reach, run

    def build(settings: Settings) -> Gateway:
        return Gateway.from_store(database, settings) if config is None else Gateway.from_file(config, settings)

    with faults():
        options = {"host": host, "port": port, "workers": workers, "access_log": access_log}
        if log_level is not None:
            options["log_level"] = LEVELS[log_level]
        settings = replace(
            Settings.from_environ(), **{name: value for name, value in options.items() if value is not None}
        )
        if (given := place()) is not None:  # what systemd listens on for us, wherever we would
            settings = replace(settings, host=given[0], port=given[1])
        else:
            check_free(settings.host, settings.port)
        set_up(settings, several=settings.workers > 1)
        supervise = _supervisor(settings) if settings.workers > 1 else None
        if config is not None and database is not None:
            raise ConfigError("--database does not go with a CONFIG; choose one of them")
        if config is None:
            from metamcp_asgi.commands.bootstrap import prepare

            prepare(database, settings)
        gateway = build(settings)
        opened = [name for name, endpoint in gateway.snapshot.endpoints.items() if endpoint.open]
        if opened and not is_loopback(settings.host):
            if not allow_open:
                raise ConfigError(
                    f"endpoint {', '.join(opened)} needs no key, so it is not served on {settings.host}: give it "
                    '"apiKeyAuth": true and an entry in "apiKeys", or start with --allow-open',
                    source=gateway.name,
                )
            if settings.allowed_hosts is None:
                settings = replace(settings, allowed_hosts=("*",))
                gateway = build(settings)
        if settings.redis_url is not None:
            asyncio.run(reach(settings))
    if supervise is not None:
        supervise(build, gateway)
    sys.exit(run(gateway))


@main.command()
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
def check(config: Path) -> None:
    """Check CONFIG: read it, connect to every server, and print what was found.

    Exits with 1 when the file is wrong, a server cannot be used, or a tool cannot be published.
    """
    from metamcp_asgi.aggregate.middleware.registry import naming
    from metamcp_asgi.check import examine
    from metamcp_asgi.config.file import load
    from metamcp_asgi.settings import read_environment

    with faults(), naming(config):
        settings = replace(Settings.from_environ(), log_level="error")
        set_up(settings)
        snapshot = load(config, environ=read_environment(), transform_localhost=settings.transform_localhost)
        sys.exit(asyncio.run(examine(snapshot, settings)))


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens on ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _supervisor(settings: Settings) -> "Callable[[Callable[[Settings], Gateway], Gateway], None]":
    """Return what serves with many processes.

    Raises:
        ConfigError: Something that many processes need is missing.
    """
    from metamcp_asgi.siblings import NEEDS_REDIS

    if settings.redis_url is None and not settings.stateless:
        raise ConfigError(NEEDS_REDIS.format(count=settings.workers))
    try:
        from metamcp_asgi.supervisor import supervise
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("gunicorn", "uvicorn_worker"):
            raise
        raise ConfigError(
            f"{settings.workers} workers need gunicorn and uvicorn-worker: pip install 'metamcp-asgi[workers]'"
        ) from None
    return supervise
