"""The groups of commands that do what the management API does: one command for each row of its route table.

A group is made of its name; what is in it is read from the table when somebody uses it, for that imports the store.
"""

from collections.abc import Mapping
from typing import Any, Final

import click

__all__ = [
    "Verbs",
    "audit",
    "clients",
    "consents",
    "endpoints",
    "health",
    "keys",
    "logs",
    "me",
    "metrics",
    "namespaces",
    "registry",
    "servers",
    "settings",
    "tools",
]

_OTHERWISE: Final = frozenset({"createUser", "listUsers", "setPassword"})
"""Operations that have a command of another form: ``users add``, ``list`` and ``passwd``."""


class Verbs(click.Group):
    """A group that has a command for each of the API's operations of its name, besides its own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted({*super().list_commands(ctx), *self._made()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name, or ``None``."""
        return super().get_command(ctx, cmd_name) or self._made().get(cmd_name)

    def _made(self) -> Mapping[str, click.Command]:
        from metamcp_asgi.commands.verbs import commands_of

        return commands_of(self.name or "", leaving_out=_OTHERWISE)


class _Alone(click.Command):
    """A command that is one operation, which is read from the table when it is used."""

    def __init__(self, operation: str, **more: Any) -> None:
        super().__init__(**more)
        self._operation = operation

    def make_context(self, *arguments: Any, **more: Any) -> click.Context:
        """Return the context of the command that is made of the operation."""
        return self._made().make_context(*arguments, **more)

    def _made(self) -> click.Command:
        from metamcp_asgi.commands.verbs import command_of, operation_of

        return command_of(operation_of(self._operation), self.name or "")


servers = Verbs("servers", help="List, add, change, remove, reset and look into servers.")
namespaces = Verbs("namespaces", help="List, add, change and remove namespaces, and switch their servers.")
tools = Verbs("tools", help="List, switch and override the tools of a namespace.")
endpoints = Verbs("endpoints", help="List, add, change and remove endpoints.")
keys = Verbs("keys", help="List, make, change and revoke API keys.")
clients = Verbs("clients", help="List, make and remove OAuth clients.")
consents = Verbs("consents", help="List and revoke what people granted to OAuth clients.")
settings = Verbs("settings", help="Read and change the settings of the whole gateway.")
audit = Verbs("audit", help="List who changed what.")
registry = Verbs("registry", help="Search an MCP registry, and add servers that it lists.")
health = _Alone("getHealth", name="health", help="Tell how all servers do.")
logs = _Alone("listLogs", name="logs", help="List what the gateway and its servers said last.")
metrics = _Alone("listMetrics", name="metrics", help="Tell how many calls there were, and how long they took.")
me = _Alone("getCaller", name="me", help="Tell as whom things are managed.")
