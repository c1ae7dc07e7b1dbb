"""``metamcp check``: connects to every server of a configuration and prints what it found."""

import asyncio
from collections.abc import Sequence

import click

from metamcp_asgi.aggregate.catalogue import Catalogue
from metamcp_asgi.aggregate.naming import MODELS_TAKE
from metamcp_asgi.aggregate.view import View
from metamcp_asgi.config.snapshot import Endpoint, Snapshot
from metamcp_asgi.gateway import Gateway
from metamcp_asgi.protocol.revisions import LISTS
from metamcp_asgi.settings import Settings

__all__ = ["examine"]

PATIENCE = 60.0
"""Seconds that a server may take to start and to list what it has."""


async def examine(snapshot: Snapshot, settings: Settings) -> int:
    """Connect to every server, print a table, and return the exit code: 1 when something is wrong.

    Args:
        snapshot: The configuration.
        settings: How to connect.
    """
    gateway = Gateway(snapshot, settings)
    async with gateway.lifespan():
        catalogues = list(gateway.aggregator.catalogues.values())
        waiting = [asyncio.ensure_future(catalogue.ready()) for catalogue in catalogues]
        if waiting:
            await asyncio.wait(waiting, timeout=PATIENCE)
        for future in waiting:
            future.cancel()
        _print_table([_row(catalogue) for catalogue in catalogues])
        failed = [catalogue for catalogue in catalogues if catalogue.unavailable]
        for catalogue in failed:
            click.echo(f"\n{catalogue.server.name} {catalogue.unavailable}", err=True)
            if catalogue.server.stderr:
                click.echo("".join(f"    {line}\n" for line in catalogue.server.stderr.splitlines()[-10:]), err=True)
        left_out = [(name, tool) for name in snapshot.endpoints for tool in _view(gateway, name).left_out]
        for name, tool in left_out:
            click.echo(f"\nendpoint {name}: {tool} is left out, because another tool has its name", err=True)
        long = [(name, tool) for name in snapshot.endpoints for tool in _view(gateway, name).long]
        for name, tool in long:
            click.echo(
                f"\nendpoint {name}: the name of tool {tool} has {len(tool)} characters, and many models take "
                f"{MODELS_TAKE}; give it a shorter one under namespaces",
                err=True,
            )
        for place in _idle_overrides(gateway):
            click.echo(f"\n{place} changes nothing: its server has no such tool", err=True)
        click.echo()
        for name, endpoint in snapshot.endpoints.items():
            view = _view(gateway, name)
            counts = ", ".join(f"{len(view.items[method])} {member}" for method, member in LISTS.items())
            click.echo(f"endpoint {name}: {counts}; {_access(endpoint)}")
        return 1 if failed or left_out else 0


def _access(endpoint: Endpoint) -> str:
    asked = [("an API key", endpoint.api_key_auth), ("an access token", endpoint.oauth is not None)]
    return "open to everybody" if endpoint.open else f"asks for {' or '.join(what for what, on in asked if on)}"


def _view(gateway: Gateway, endpoint: str) -> View:
    running = gateway.aggregator.namespace(endpoint)
    assert running is not None
    return running.view


def _idle_overrides(gateway: Gateway) -> list[str]:
    """Return the places of switches and overrides of tools that do not exist: most often a slip of the pen."""
    places = []
    for name, namespace in gateway.snapshot.namespaces.items():
        for server, tool in namespace.tools:
            catalogue = gateway.aggregator.catalogues.get(server)
            if catalogue is not None and catalogue.lists is not None and catalogue.find_tool(tool) is None:
                places.append(f"namespaces.{name}.tools.{server}__{tool}")
    return places


def _row(catalogue: Catalogue) -> Sequence[str]:
    server = catalogue.server
    peer, lists = server.peer, catalogue.lists
    found = [str(len(lists[method].entries)) if lists is not None else "-" for method in LISTS]
    state = "failed" if catalogue.unavailable else "ready"
    return [server.name, server.config.type, state, f"{peer.era} {peer.revision}" if peer is not None else "-", *found]


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    head = ["SERVER", "TRANSPORT", "STATE", "ERA", "TOOLS", "PROMPTS", "RESOURCES", "TEMPLATES"]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
