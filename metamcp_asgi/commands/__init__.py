"""The subcommands of ``metamcp`` that manage things, each group in a file that is read only when it is used.

``COMMANDS`` names for each subcommand the module and the click command in it. Modules here import at their top only
what is cheap; a database or a driver is imported in the function that needs it.
"""

from importlib import import_module
from typing import Final

import click

__all__ = ["COMMANDS", "LazyGroup"]

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "apply": ("configuration", "apply"),
    "audit": ("managing", "audit"),
    "clients": ("managing", "clients"),
    "consents": ("managing", "consents"),
    "db": ("database", "db"),
    "endpoints": ("managing", "endpoints"),
    "export": ("configuration", "export"),
    "health": ("managing", "health"),
    "import": ("imports", "import_"),
    "import-metamcp": ("imports", "import_metamcp"),
    "keys": ("managing", "keys"),
    "logs": ("managing", "logs"),
    "me": ("managing", "me"),
    "metrics": ("managing", "metrics"),
    "namespaces": ("managing", "namespaces"),
    "plan": ("configuration", "plan"),
    "secrets": ("database", "secrets"),
    "registry": ("managing", "registry"),
    "servers": ("managing", "servers"),
    "settings": ("managing", "settings"),
    "tools": ("managing", "tools"),
    "users": ("users", "users"),
}


class LazyGroup(click.Group):
    """A group that has the commands of ``COMMANDS`` besides its own, and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *COMMANDS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, or ``None``."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        command: click.Command = getattr(import_module(f"{__name__}.{place[0]}"), place[1])
        return command
