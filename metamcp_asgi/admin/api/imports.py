"""Servers out of other programs' files: what ``metamcp import`` makes of them, put into the store.

Adds servers. What there is already under the same name stays as it is, and is named, unless it shall be replaced.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from metamcp_asgi.admin.api.body import JSON, Text
from metamcp_asgi.admin.api.documents import Given, compiled, parsed, told
from metamcp_asgi.admin.api.operation import Ask, Operation, Parameter, Reply
from metamcp_asgi.admin.api.problem import Fault, Problem, pointer_to
from metamcp_asgi.admin.api.scopes import OWNER, check_changes, scope_of
from metamcp_asgi.admin.api.shapes import Shape
from metamcp_asgi.config.foreign import Imported, Note, convert
from metamcp_asgi.config.plan import Change
from metamcp_asgi.config.references import with_references
from metamcp_asgi.config.snapshot import Server, Snapshot
from metamcp_asgi.store.apply import apply, planned
from metamcp_asgi.store.transaction import Writer

__all__ = ["OPERATIONS"]

_FORMAT = Parameter(
    "format",
    Literal["auto", "metamcp", "claude", "cursor", "vscode", "cline"],
    "Whose file it is; `auto` tells it by what is in it.",
    "auto",
)
_DRY_RUN = Parameter("dryRun", bool, "Whether to tell only what would be done.", False)
_REPLACE = Parameter("replace", bool, "Whether servers that are there become what the file says.", False)


class ForeignFile(Struct, frozen=True, kw_only=True):
    """Another program's file, which may have more than this. ``variables`` are what its variables mean."""

    mcp_servers: dict[str, dict[str, Any]] = field(name="mcpServers", default_factory=dict)
    servers: dict[str, dict[str, Any]] = {}
    inputs: list[dict[str, Any]] = []
    mcp: dict[str, Any] = {}
    variables: dict[str, str] = {}


class Import(Shape, frozen=True, kw_only=True, rename="camel"):
    """What an import did, or would.

    ``changes`` are the servers that are added or replaced; ``conflicts`` the names of those that are there and
    differ, and stay; ``unchanged`` of those that are there as the file says. ``variables`` are those that the file
    needs and that were not given, with what each is for: without them it is not imported. ``document`` is the file
    as a configuration, its secrets as ``${VAR}``.
    """

    dry_run: bool
    format: str
    changes: Sequence[Change]
    conflicts: Sequence[str]
    unchanged: Sequence[str]
    notes: Sequence[Note]
    variables: Mapping[str, str]
    document: Mapping[str, Any]


async def _import(ask: Ask, text: Text) -> Reply:
    given = await parsed(text, lenient=True)
    with told():
        written = msgspec.json.encode(given.document).decode()
        imported = await asyncio.to_thread(convert, written, ask.query[_FORMAT.name])
    missing = {name: why for name, why in imported.variables.items() if name not in given.variables}
    dry_run = ask.query[_DRY_RUN.name]
    if missing and not dry_run:
        reason = "is a variable of the file, and is not given"
        faults = [Fault(reason, pointer=pointer_to("variables", name)) for name in missing]
        raise Problem(422, f"The file needs `variables` that are not given: {', '.join(missing)}.", faults)
    servers = await _servers(imported, given.variables, missing)
    async with ask.store.read() if dry_run else ask.store.write(ask.caller) as tx:
        scope = await scope_of(tx, ask)
        there = scope.snapshot.servers
        differing = [name for name, server in servers.items() if name in there and there[name] != server]
        borrowed = {name for kind, name in scope.borrowed if kind == "server"}
        conflicts = [name for name in differing if name in borrowed or not ask.query[_REPLACE.name]]
        wanted = Snapshot(
            servers={name: server for name, server in servers.items() if name not in conflicts},
            namespaces={},
            endpoints={},
        )
        with told():
            changes = [change for change in planned(scope, wanted, prune=False) if change.action != "keep"]
        await check_changes(tx, ask.caller, scope, wanted, changes)
        if isinstance(tx, Writer):
            await apply(tx, scope.owner_id, wanted)
    body = Import(
        dry_run=dry_run,
        format=imported.format,
        changes=changes,
        conflicts=conflicts,
        unchanged=[name for name, server in servers.items() if name in there and there[name] == server],
        notes=_notes(imported),
        variables=missing,
        document=with_references(imported.document)[0],
    )
    return Reply(body=body)


async def _servers(imported: Imported, variables: Mapping[str, str], missing: Collection[str]) -> Mapping[str, Server]:
    """Return the servers of a file, but for those that need a variable that is missing."""
    references = [f"${{{name}}}" for name in missing]
    entries = {}
    for name, entry in imported.document["mcpServers"].items():
        written = msgspec.json.encode(entry).decode().replace("$${", "")
        if not any(reference in written for reference in references):
            entries[name] = entry
    document = {"mcpServers": entries, "namespaces": {}, "endpoints": {}}
    return (await compiled(Given(document, variables))).servers


def _notes(imported: Imported) -> list[Note]:
    # Its variables are told apart, because here they come with the file, and not from the environment.
    notes = [note for note in imported.notes if note.kind != "needs"]
    for namespace in imported.document.get("namespaces", {}).values():
        for tool in namespace["tools"]:
            text = f"tool {tool} is switched off there; switch it off in the namespaces that get it"
            notes.append(Note("", "needs", text))
    return notes


OPERATIONS = (
    Operation(
        method="POST",
        path="/import",
        name="importServers",
        run=_import,
        takes=ForeignFile,
        raw=(JSON,),
        gives=Import,
        query=(_FORMAT, _DRY_RUN, _REPLACE, OWNER),
        summary="Add the servers of another program's file: MetaMCP's export, Claude's, Cursor's, VS Code's.",
    ),
)
