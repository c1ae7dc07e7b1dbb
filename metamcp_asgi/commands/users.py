"""``metamcp users``: who may manage things, from the machine itself.

A password is asked for, or read from the standard input, and never taken from the command line, which every user of
the machine can read.
"""

import sys
from typing import TYPE_CHECKING, Final

import click

from metamcp_asgi.commands.configuration import with_store
from metamcp_asgi.commands.terminal import say_json, table
from metamcp_asgi.errors import ConfigError

if TYPE_CHECKING:
    from metamcp_asgi.store.models import User
    from metamcp_asgi.store.repository import Store

__all__ = ["users"]

_DATABASE: Final = click.option(
    "--database", metavar="URL", help="The database.  [default: DATABASE_URL, or SQLite in your data folder]"
)
_STDIN: Final = click.option("--password-stdin", is_flag=True, help="Read the password from the standard input.")
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
_ROLE: Final = click.Choice(["admin", "member"])
_LONGEST: Final = 4096


@click.group()
def users() -> None:
    """Add and list users, and set their passwords and roles."""


@users.command()
@click.argument("email")
@click.option("--name", default="", help="The user's name.")
@click.option("--role", type=_ROLE, default="member", show_default=True, help="The first user is always an admin.")
@click.option("--no-password", is_flag=True, help="For somebody who logs in elsewhere.")
@_STDIN
@_DATABASE
def add(email: str, name: str, role: str, no_password: bool, password_stdin: bool, database: str | None) -> None:
    """Add a user; the password is asked for."""

    async def work(store: "Store") -> "User":
        from metamcp_asgi.store.policy import COMMAND_LINE
        from metamcp_asgi.store.services import users as service
        from metamcp_asgi.store.services.inputs import NewUser

        password = None if no_password else _password(from_stdin=password_stdin)
        new = NewUser(email=email, name=name, role="admin" if role == "admin" else "member", password=password)
        async with store.write(COMMAND_LINE) as tx:
            return await service.create(tx, COMMAND_LINE, new)

    added = with_store(work, database)
    click.echo(f"{added.email} added as {added.role}")


@users.command()
@click.argument("email")
@_STDIN
@_DATABASE
def passwd(email: str, password_stdin: bool, database: str | None) -> None:
    """Set a user's password, which is asked for."""

    async def work(store: "Store") -> None:
        from metamcp_asgi.store.policy import COMMAND_LINE
        from metamcp_asgi.store.services import users as service

        async with store.read() as tx:
            user = await service.by_email(tx, COMMAND_LINE, email)
        password = _password(from_stdin=password_stdin)
        async with store.write(COMMAND_LINE) as tx:
            await service.set_password(tx, COMMAND_LINE, user.id, password)

    with_store(work, database)
    click.echo(f"password of {email} set")


@users.command()
@click.argument("email")
@click.argument("role", type=_ROLE)
@_DATABASE
def role(email: str, role: str, database: str | None) -> None:
    """Make a user an admin, or a member."""

    async def work(store: "Store") -> None:
        from metamcp_asgi.store.policy import COMMAND_LINE
        from metamcp_asgi.store.services import users as service
        from metamcp_asgi.store.services.inputs import UserChanges

        async with store.write(COMMAND_LINE) as tx:
            user = await service.by_email(tx, COMMAND_LINE, email)
            changes = UserChanges(role="admin" if role == "admin" else "member")
            await service.update(tx, COMMAND_LINE, user.id, changes)

    with_store(work, database)
    click.echo(f"{email} is {'an admin' if role == 'admin' else 'a member'} now")


@users.command("list")
@_JSON
@_DATABASE
def list_(as_json: bool, database: str | None) -> None:
    """List the users."""

    async def work(store: "Store") -> "list[User]":
        from metamcp_asgi.store.policy import COMMAND_LINE
        from metamcp_asgi.store.services import users as service

        async with store.read() as tx:
            return list(await service.list_(tx, COMMAND_LINE))

    found = with_store(work, database)
    if as_json:
        say_json(
            [
                {
                    "id": str(user.id),
                    "email": user.email,
                    "name": user.name,
                    "role": user.role,
                    "disabled": user.disabled,
                    "createdAt": user.created_at.isoformat(),
                }
                for user in found
            ]
        )
        return
    rows = [(user.email, user.name or None, user.role, "disabled" if user.disabled else "active") for user in found]
    click.echo(table(("EMAIL", "NAME", "ROLE", "STATUS"), rows))


def _password(*, from_stdin: bool) -> str:
    """Return a password from the standard input, without the line's end, or ask for it twice."""
    if not from_stdin:
        if not sys.stdin.isatty():
            raise ConfigError("there is no terminal to ask for the password; pass it on with --password-stdin")
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    try:
        text = sys.stdin.buffer.read(_LONGEST).decode()
    except UnicodeDecodeError:
        raise ConfigError("the password on the standard input isn't UTF-8") from None
    return text.removesuffix("\n").removesuffix("\r")
