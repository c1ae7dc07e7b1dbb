"""What the commands have in common at the terminal: messages for faults, tables, and files that hold secrets.

Knows nothing of configurations and stores.
"""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import msgspec

from metamcp_asgi.errors import ConfigError, MetaMCPError

__all__ = ["faults", "harmless", "say_json", "table", "write_private"]


@contextlib.contextmanager
def faults() -> Iterator[None]:
    """Turn an error of ours into a message and exit code 1."""
    try:
        yield
    except MetaMCPError as error:
        click.echo(f"metamcp: {harmless(str(error))}", err=True)
        sys.exit(1)


def harmless(text: str) -> str:
    """Return a text that does nothing to a terminal: of what is no letter or sign, only ends of lines are left."""
    return "".join(
        char if char.isprintable() or char == "\n" else " " if char.isspace() else f"\\x{ord(char):02x}"
        for char in text
    )


def say_json(value: object) -> None:
    """Print a value as JSON, for scripts."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table for people, its columns as wide as they need to be.

    Args:
        head: The columns' names.
        rows: The cells; ``None`` is shown as ``-``.
    """
    cells = [list(head), *(["-" if cell is None else str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def write_private(path: Path, text: str, *, force: bool) -> None:
    """Write a file that may hold secrets: only its owner can read it (mode 0600).

    Args:
        path: Where.
        text: What, in UTF-8.
        force: Whether to write over a file that is there.

    Raises:
        ConfigError: It is there already, or can't be written.
    """
    if path.exists() and not force:
        raise ConfigError("is there already; choose another name, or write over it with --force", source=str(path))
    # Whole or not at all: a reader, such as a gateway that watches it, never sees half of it.
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigError(f"cannot be written: {error.strerror}", source=str(path)) from error
