"""Which programs stdio servers may be, how much of the machine each gets, and how much of it each sees.

The first two are decided for a whole process, by its settings. A list of programs is a fence for those who configure
servers, not a jail for servers: ``npx`` runs whatever package it is told to, and whatever runs has the rights of its
user, unless it has a sandbox.
"""

import shutil
from collections.abc import Mapping, Sequence
from typing import Final

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import ConfigError, UpstreamUnavailable
from metamcp_asgi.upstream.sandbox import boxed

__all__ = ["Launch"]

_LOADER: Final = ("LD_", "DYLD_")


class Launch:
    """What is done before a program is started.

    Args:
        commands: The programs that may be: names, looked up on our own ``PATH``, and absolute paths; ``None``: any.
        limits: Resource limits of each process, soft and hard, by their names in prlimit(1): ``nofile``, ``core``.
        environ: Where our ``PATH`` is.

    Raises:
        ConfigError: There are limits, and no program to set them.
    """

    def __init__(
        self,
        commands: Sequence[str] | None = None,
        limits: Sequence[tuple[str, int]] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._commands = None if commands is None else frozenset(commands)
        self._path = (environ or {}).get("PATH")
        self._limits: tuple[str, ...] = ()
        if limits:
            program = shutil.which("prlimit", path=self._path)
            if program is None:
                raise ConfigError("needs the program prlimit, of util-linux", path="METAMCP_STDIO_LIMITS")
            self._limits = (program, *(f"--{name}={value}" for name, value in limits), "--")

    def prefix(self, server: Server, env: Mapping[str, str]) -> Sequence[str]:
        """Return what comes before the program of a server and its arguments: it sets bounds, and becomes the program.

        Args:
            server: The server.
            env: The complete environment of its process.

        Raises:
            UpstreamUnavailable: The server is to have a sandbox, and cannot.
        """
        return self._limits if server.sandbox is None else (*self._limits, *boxed(server, env))

    def command(self, server: Server) -> str:
        """Return the program of a server, as it is to be started.

        Raises:
            UpstreamUnavailable: It may not be started.
        """
        if self._commands is None:
            return server.command
        if server.command not in self._commands:
            raise UpstreamUnavailable(
                f"was not started: command {server.command!r} is not among those that METAMCP_STDIO_COMMANDS allows"
            )
        for name, _ in server.env:
            if name == "PATH" or name.startswith(_LOADER):
                raise UpstreamUnavailable(
                    f"was not started: its env sets {name}, which decides what its command runs; while "
                    "METAMCP_STDIO_COMMANDS says what may run, it must not"
                )
        if "/" in server.command:
            return server.command
        # A name that is not found keeps its name, for the error that says so.
        return shutil.which(server.command, path=self._path) or server.command
