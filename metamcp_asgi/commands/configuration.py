"""``metamcp export``, ``plan`` and ``apply``: the configuration in the store, as a file and from one."""

import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeVar

import click

from metamcp_asgi.commands.terminal import faults, say_json, write_private
from metamcp_asgi.errors import ConfigError

if TYPE_CHECKING:
    from metamcp_asgi.config.plan import Change
    from metamcp_asgi.config.snapshot import Snapshot
    from metamcp_asgi.store.repository import Store
    from metamcp_asgi.store.transaction import Reader

__all__ = ["apply", "export", "plan", "with_store"]

Answer = TypeVar("Answer")

_FILE: Final = click.Path(dir_okay=False, path_type=Path)
_CHANGES: Final = 2
"""Exit code of ``plan --exit-code`` when there is something to do; 1 is a fault."""

_database = click.option(
    "--database", metavar="URL", help="The database.  [default: DATABASE_URL, else SQLite in the user's data folder]"
)
_owner = click.option("--owner", metavar="EMAIL", help="The private things of this user, instead of the public ones.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
_prune = click.option("--prune", is_flag=True, help="Also remove what the file does not have.")


@click.command()
@click.option("--output", "-o", type=_FILE, help="Write to this file, YAML or JSON, instead of the standard output.")
@click.option("--env-file", type=_FILE, help="Write the variables with their values to this .env file.")
@click.option("--with-secrets", is_flag=True, help="Write secrets in clear, instead of variables.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option("--format", "format_", type=click.Choice(["yaml", "json"]), help="[default: by the file's name, or YAML]")
@_owner
@_database
def export(
    output: Path | None,
    env_file: Path | None,
    with_secrets: bool,
    force: bool,
    format_: Literal["yaml", "json"] | None,
    owner: str | None,
    database: str | None,
) -> None:
    """Write the configuration in the store as a file for serve, plan and apply.

    Secrets are written as ${VAR}; API keys as digests, with which they keep working.
    """
    from metamcp_asgi.config.export import dotenv, to_text
    from metamcp_asgi.config.export import export as exported_of
    from metamcp_asgi.store.scope import elsewhere, read_scope

    async def work(store: "Store") -> None:
        async with store.read() as tx:
            scope = await read_scope(tx, await _owner_id(tx, owner))
            others = await elsewhere(tx) if owner is None else ()
        exported = exported_of(scope.snapshot, with_secrets=with_secrets)
        format__: Literal["yaml", "json"] = format_ or ("json" if output and output.suffix == ".json" else "yaml")
        text = to_text(exported.document, format__, _needed(exported.variables))
        if env_file is not None:
            write_private(env_file, dotenv(exported.variables), force=force)
        if output is None:
            click.echo(text, nl=False)
        else:
            write_private(output, text, force=force)
        for line in [*scope.unsaid, *others]:
            click.echo(f"not in the file: {line}", err=True)

    with_store(work, database)


@click.command()
@click.argument("file", type=_FILE)
@_prune
@click.option("--exit-code", is_flag=True, help="Exit with 2 when there is something to do.")
@_json
@_owner
@_database
def plan(file: Path, prune: bool, exit_code: bool, as_json: bool, owner: str | None, database: str | None) -> None:
    """Show what apply would change in the store to make it what FILE says."""
    from metamcp_asgi.store.apply import check_names, planned
    from metamcp_asgi.store.scope import read_scope

    async def work(store: "Store") -> list["Change"]:
        wanted = _compiled(file)
        async with store.read() as tx:
            scope = await read_scope(tx, await _owner_id(tx, owner))
        changes = planned(scope, wanted, prune=prune)
        check_names(scope, changes)
        return changes

    changes = with_store(work, database)
    _show(changes, as_json=as_json)
    if exit_code and any(change.action != "keep" for change in changes):
        sys.exit(_CHANGES)


@click.command()
@click.argument("file", type=_FILE)
@_prune
@_json
@_owner
@_database
def apply(file: Path, prune: bool, as_json: bool, owner: str | None, database: str | None) -> None:
    """Make the store what FILE says, in one transaction: all of it, or nothing.

    What the file does not have stays, unless --prune is given. ${VAR} in the file are replaced now, by the variables
    of this process and of a file .env. Running gateways take the change over by themselves.
    """
    from metamcp_asgi.store.apply import apply as make
    from metamcp_asgi.store.repository import Actor

    async def work(store: "Store") -> list["Change"]:
        wanted = _compiled(file)
        async with store.write(Actor(None, "metamcp apply")) as tx:
            return await make(tx, await _owner_id(tx, owner), wanted, prune=prune)

    _show(with_store(work, database), as_json=as_json, done=True)


def with_store(work: Callable[["Store"], Awaitable[Answer]], database: str | None) -> Answer:
    """Run ``work`` on the store, and turn errors of ours into messages.

    Args:
        work: What to do.
        database: The database's URL; ``None``: the environment's.
    """

    async def run() -> Answer:
        from metamcp_asgi.aggregate.middleware.registry import instances
        from metamcp_asgi.settings import Settings, read_environment
        from metamcp_asgi.store.repository import Store

        settings = Settings.from_environ()
        keys = settings.secret_keys
        store = await Store.open(database, environ=read_environment(), secret_keys=keys, check=instances)
        try:
            return await work(store)
        finally:
            await store.aclose()

    with faults():
        return asyncio.run(run())


async def _owner_id(tx: "Reader", email: str | None) -> uuid.UUID | None:
    from metamcp_asgi.store.models import User

    if email is None:
        return None
    user = await tx.find(User, email=email.strip().lower())
    if user is None:
        raise ConfigError(f"there is no user {email}")
    return user.id


def _compiled(file: Path) -> "Snapshot":
    from metamcp_asgi.aggregate.middleware.registry import check, naming
    from metamcp_asgi.config.file import load
    from metamcp_asgi.settings import read_environment
    from metamcp_asgi.store.limits import check_limits

    snapshot = load(file, environ=read_environment())
    with naming(file):
        check(snapshot)
        check_limits(snapshot)
    return snapshot


def _needed(variables: Mapping[str, str]) -> str:
    if not variables:
        return ""
    return "\n".join(["Needs these variables, in the environment or in a file .env:", *(f"  {v}" for v in variables)])


def _show(changes: list["Change"], *, as_json: bool, done: bool = False) -> None:
    from metamcp_asgi.config.plan import in_words

    if as_json:
        say_json(changes)
        return
    text = in_words(changes)
    click.echo(text)
    if done and any(change.action != "keep" for change in changes):
        click.echo("Done.")
