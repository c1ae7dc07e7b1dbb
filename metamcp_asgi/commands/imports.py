"""``metamcp import`` and ``metamcp import-metamcp``: from other programs' files, and from MetaMCP's database."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from metamcp_asgi.commands.terminal import faults, say_json, table, write_private
from metamcp_asgi.errors import ConfigError

if TYPE_CHECKING:
    from metamcp_asgi.store.metamcp_rows import Copied
    from metamcp_asgi.store.repository import Store

__all__ = ["import_", "import_metamcp"]

_FILE = click.Path(dir_okay=False, path_type=Path)
_SIGNS = {"changed": "~", "lost": "-", "needs": "!"}


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "metamcp", "claude", "cursor", "vscode", "cline"]),
    default="auto",
    help="Whose file it is.  [default: told by what is in it]",
)
@click.option("--output", "-o", type=_FILE, help="Write to this file, YAML or JSON.")
@click.option("--env-file", type=_FILE, help="Write secrets to this .env file, and variables in their place.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@click.option("--json", "as_json", is_flag=True, help="Print document and notes as JSON, for scripts.")
def import_(
    file: Path,
    format_: Literal["auto", "metamcp", "claude", "cursor", "vscode", "cline"],
    output: Path | None,
    env_file: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Rewrite FILE, another program's list of MCP servers, as a configuration of ours.

    Reads the files of Claude Desktop and Code, Cursor, VS Code, Cline and Roo Code, and MetaMCP's
    mcp-servers-export.json; - reads the standard input. What was changed, and what could not be taken over, is
    told on the standard error.
    """
    from metamcp_asgi.config.export import dotenv, to_text
    from metamcp_asgi.config.foreign import convert
    from metamcp_asgi.config.references import with_references

    with faults():
        imported = convert(_text(file), format_, "" if str(file) == "-" else str(file))
        document = imported.document
        if env_file is not None:
            document, variables = with_references(document)
            write_private(env_file, dotenv(variables), force=force)
        if output is not None:
            write_private(output, to_text(document, "json" if output.suffix == ".json" else "yaml"), force=force)
        if as_json:
            say_json({"format": imported.format, "document": document, "notes": imported.notes})
            return
        if output is None:
            click.echo(to_text(document, "yaml"), nl=False)
        for note in imported.notes:
            click.echo(f"{_SIGNS[note.kind]} {note}", err=True)
        count = len(document["mcpServers"])
        click.echo(f"{count} server{'' if count == 1 else 's'} taken over (read as {imported.format})", err=True)


@click.command("import-metamcp")
@click.argument("url")
@click.option("--update", is_flag=True, help="Also make what was copied before what MetaMCP has now.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
@click.option(
    "--database", metavar="DATABASE_URL", help="Where to.  [default: DATABASE_URL, else SQLite in the data folder]"
)
def import_metamcp(url: str, update: bool, dry_run: bool, as_json: bool, database: str | None) -> None:
    """Copy MetaMCP's database at URL, which is not changed: postgresql://user:password@host:9433/name

    Takes over users with their passwords, servers, namespaces, switches and overrides of tools, endpoints, API keys
    (which keep working), OAuth clients, and tokens for servers. Ids stay, and a copy can be repeated.
    """
    from metamcp_asgi.commands.configuration import with_store
    from metamcp_asgi.settings import read_environment
    from metamcp_asgi.store.metamcp_import import copy
    from metamcp_asgi.store.metamcp_source import read_database
    from metamcp_asgi.store.repository import Actor

    async def work(store: "Store") -> "Copied":
        source = await read_database(url)
        done: Copied | None = None
        with contextlib.suppress(_NothingMeant):
            async with store.write(Actor(None, "metamcp import-metamcp")) as tx:
                done = await copy(tx, source, update=update, environ=read_environment())
                if dry_run:
                    raise _NothingMeant
        assert done is not None
        return done

    copied = with_store(work, database)
    if as_json:
        say_json(copied)
        return
    kinds = [*dict.fromkeys([*copied.added, *copied.updated, *copied.present])]
    counts = (copied.added, copied.updated, copied.present)
    rows = [[kind.replace("_", " "), *(count.get(kind, 0) for count in counts)] for kind in kinds]
    for remark in copied.remarks:
        click.echo(f"{_SIGNS[remark.kind]} {remark.what}: {remark.text}")
    click.echo(table(("KIND", "NEW", "UPDATED", "THERE BEFORE"), rows))
    if dry_run:
        click.echo("Nothing was changed.")


class _NothingMeant(Exception):
    """Undoes a transaction of a dry run."""


def _text(file: Path) -> str:
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source=str(file)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 (at byte {error.start})", source=str(file)) from None
