"""The command ``metamcp-stdio``: the process that owns the stdio servers of a machine for all its workers."""

from pathlib import Path

import click
from msgspec.structs import replace

from metamcp_asgi import __version__
from metamcp_asgi.commands.terminal import faults
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.logs.setup import set_up
from metamcp_asgi.readers import LEVELS
from metamcp_asgi.settings import Settings

__all__ = ["main"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="metamcp-stdio")
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help="Where to listen; gateways find it by the same METAMCP_STDIO_SOCKET.  [default: METAMCP_STDIO_SOCKET]",
)
@click.option(
    "--log-level",
    type=click.Choice(list(LEVELS)),
    help="Log this and what is worse.  [default: info]",
)
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends, too.")
def main(path: Path | None, log_level: str | None, until_eof: bool) -> None:
    """Run the stdio servers of gateways on this machine, so that several workers share them and may restart.

    Gateways of the same user use it when METAMCP_STDIO_SOCKET names its socket.
    """
    from metamcp_asgi.companion import run

    with faults():
        settings = Settings.from_environ()
        if log_level is not None:
            settings = replace(settings, log_level=LEVELS[log_level])
        set_up(settings)
        path = path or settings.stdio_socket
        if path is None:
            raise ConfigError("name the socket with --socket, or with METAMCP_STDIO_SOCKET")
        run(path, settings, until_eof=until_eof)


if __name__ == "__main__":
    main()
