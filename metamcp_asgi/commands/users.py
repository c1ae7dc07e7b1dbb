"""``metamcp users``: who may manage things.

A password is asked for, or read from the standard input, and never taken from the command line, which every user of
the machine can read.
"""

import sys
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from metamcp_asgi.commands.managing import Verbs
from metamcp_asgi.commands.terminal import say_json, table
from metamcp_asgi.commands.where import options_where, with_reach
from metamcp_asgi.errors import ConfigError

if TYPE_CHECKING:
    from metamcp_asgi.commands.reach import Reach

__all__ = ["users"]

_STDIN: Final = click.option("--password-stdin", is_flag=True, help="Read the password from the standard input.")
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
_ROLE: Final = click.Choice(["admin", "member"])
_LONGEST: Final = 4096
_LISTED: Final = ("id", "email", "name", "role", "disabled", "createdAt")


def _anywhere(command: click.Command) -> click.Command:
    """Give a command the options that tell what is managed."""
    command.params += options_where()
    return command


@click.group(cls=Verbs)
def users() -> None:
    """Add, list, change and remove users, and set their passwords and roles."""


@_anywhere
@users.command()
@click.argument("email")
@click.option("--name", default="", help="The user's name.")
@click.option("--role", type=_ROLE, default="member", show_default=True, help="The first user is always an admin.")
@click.option("--no-password", is_flag=True, help="For somebody who logs in elsewhere.")
@_STDIN
def add(email: str, name: str, role: str, no_password: bool, password_stdin: bool, **where: Any) -> None:
    """Add a user; the password is asked for."""

    async def work(reach: "Reach") -> Any:
        from metamcp_asgi.commands.verbs import operation_of

        password = None if no_password else _password(from_stdin=password_stdin)
        body = {"email": email, "name": name, "role": role, "password": password}
        answer = await reach.ask(operation_of("createUser"), {}, body=msgspec.json.encode(body))
        return msgspec.json.decode(answer.body)

    _check_input(where, password_stdin=password_stdin)
    added = with_reach(work, where)
    click.echo(f"{added['email']} added as {added['role']}")


@_anywhere
@users.command()
@click.argument("email")
@_STDIN
def passwd(email: str, password_stdin: bool, **where: Any) -> None:
    """Set a user's password, which is asked for."""

    async def work(reach: "Reach") -> None:
        from metamcp_asgi.commands.verbs import operation_of

        identity = await _identity(reach, email)
        body = msgspec.json.encode({"password": _password(from_stdin=password_stdin)})
        await reach.ask(operation_of("setPassword"), {"id": identity}, body=body)

    _check_input(where, password_stdin=password_stdin)
    with_reach(work, where)
    click.echo(f"password of {email} set")


@_anywhere
@users.command()
@click.argument("email")
@click.argument("role", type=_ROLE)
def role(email: str, role: str, **where: Any) -> None:
    """Make a user an admin, or a member."""

    async def work(reach: "Reach") -> None:
        from metamcp_asgi.commands.verbs import operation_of

        ids = {"id": await _identity(reach, email)}
        await reach.ask(operation_of("updateUser"), ids, body=msgspec.json.encode({"role": role}), condition="*")

    with_reach(work, where)
    click.echo(f"{email} is {'an admin' if role == 'admin' else 'a member'} now")


@_anywhere
@users.command("list")
@_JSON
def list_(as_json: bool, **where: Any) -> None:
    """List the users."""

    async def work(reach: "Reach") -> Any:
        from metamcp_asgi.commands.reach import whole
        from metamcp_asgi.commands.verbs import operation_of

        return (await whole(reach, operation_of("listUsers"), {}))["items"]

    found = with_reach(work, where)
    if as_json:
        say_json([{field: user[field] for field in _LISTED} for user in found])
        return
    rows = [
        (user["email"], user["name"] or None, user["role"], "disabled" if user["disabled"] else "active")
        for user in found
    ]
    click.echo(table(("EMAIL", "NAME", "ROLE", "STATUS"), rows))


async def _identity(reach: "Reach", email: str) -> uuid.UUID:
    from metamcp_asgi.admin.api.application import OPERATIONS
    from metamcp_asgi.commands.references import Names

    return uuid.UUID(await Names(reach, OPERATIONS).identity("users", email))


def _check_input(where: Mapping[str, Any], *, password_stdin: bool) -> None:
    if password_stdin and where["key_stdin"]:
        raise click.UsageError("the standard input can be read once only; give the key in METAMCP_API_KEY")


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
