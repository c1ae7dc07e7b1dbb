"""Servers, and what is done with one: what it offers now, its health, reset, refresh."""

import asyncio
import contextlib
import uuid
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

from msgspec import UNSET, structs

from metamcp_asgi.admin.api.access import note_shown, secrets_included
from metamcp_asgi.admin.api.finding import FOUND_BY, IDS, found, ids_of
from metamcp_asgi.admin.api.operation import PAGED, SECRETS, Ask, Operation, Reply, page_of, searching
from metamcp_asgi.admin.api.problem import Problem
from metamcp_asgi.admin.api.running import Health, ServerHealth, ToolPage, catalogue_of, health_of, says, tool_of
from metamcp_asgi.admin.api.shapes import Server, ServerPage, shown_args, shown_url
from metamcp_asgi.bus.protocol import UNREACHABLE, BusUnavailable
from metamcp_asgi.config.sensitive import MASK
from metamcp_asgi.store import models
from metamcp_asgi.store.compile import named
from metamcp_asgi.store.errors import SecretsError
from metamcp_asgi.store.policy import check_change, visible
from metamcp_asgi.store.secrets import ServerSecrets
from metamcp_asgi.store.services import servers
from metamcp_asgi.store.services.inputs import Invalid, NewServer, ServerChanges
from metamcp_asgi.store.transaction import Reader, place_of

__all__ = ["OPERATIONS"]

REFRESH_SECONDS = 10.0
"""How long a refresh waits for the server; its lists arrive later all the same."""


async def _list(ask: Ask) -> Reply:
    include = secrets_included(ask)
    async with ask.store.read() as tx:
        rows = await found(tx, ask, ask.after(str, uuid.UUID))
        rows, following = page_of(rows, ask.limit, place_of)
        items = [await _shown(tx, ask, row, include=include) for row in rows]
    if include:
        await note_shown(ask, rows)
    return Reply(body=ServerPage(items=items, next=following), next=following)


async def _create(ask: Ask, given: NewServer) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await servers.create(tx, ask.caller, given)
        body = await _shown(tx, ask, row)
    return Reply(body=body, version=row.version, location=f"/servers/{row.id}")


async def _get(ask: Ask) -> Reply:
    include = secrets_included(ask)
    async with ask.store.read() as tx:
        row = await servers.get(tx, ask.caller, ask.id)
        body = await _shown(tx, ask, row, include=include)
    if include:
        await note_shown(ask, [row])
    return Reply(body=body, version=row.version)


async def _update(ask: Ask, given: ServerChanges) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        row = await servers.get(tx, ask.caller, ask.id)
        row = await servers.update(tx, ask.caller, ask.id, _unmasked(row, tx.secrets(row), given), version=ask.version)
        await tx.flush()
        body = await _shown(tx, ask, row)
    return Reply(body=body, version=row.version)


async def _delete(ask: Ask) -> Reply:
    async with ask.store.write(ask.caller) as tx:
        await servers.delete(tx, ask.caller, ask.id, version=ask.version)
    return Reply()


async def _tools(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await servers.get(tx, ask.caller, ask.id)
    catalogue = catalogue_of(ask.aggregator, row)
    entries = catalogue.lists["tools/list"].entries if catalogue is not None and catalogue.lists is not None else ()
    after = ask.after(str)
    text = (ask.search or "").casefold()
    wanted = [entry for entry in entries if (after is None or entry.key > after[0]) and (not text or says(entry, text))]
    shown, following = page_of(wanted[: ask.limit + 1], ask.limit, lambda entry: (entry.key,))
    items = [tool_of(entry) for entry in shown]
    state = health_of(ask.aggregator, row, ask.caller)
    return Reply(body=ToolPage(items=items, next=following, state=state.state, error=state.error), next=following)


async def _health(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        row = await servers.get(tx, ask.caller, ask.id)
    return Reply(body=health_of(ask.aggregator, row, ask.caller))


async def _all_health(ask: Ask) -> Reply:
    async with ask.store.read() as tx:
        rows = await tx.list(models.Server, visible(ask.caller, models.Server), *ids_of(ask))
    shown = [health_of(ask.aggregator, row, ask.caller) for row in rows]
    failed = any(server.state == "failed" for server in shown)
    return Reply(body=Health(status="degraded" if failed else "ok", servers=shown))


async def _reset(ask: Ask) -> Reply:
    row = await _noted(ask, "reset")
    if ask.aggregator is not None:
        with _told("The server may not have been reset in all processes"):
            await ask.aggregator.renewal.reset(named(row.name, row.owner_id))
    return Reply(body=health_of(ask.aggregator, row, ask.caller))


async def _refresh(ask: Ask) -> Reply:
    row = await _noted(ask, "refresh")
    catalogue = catalogue_of(ask.aggregator, row)
    if ask.aggregator is not None and catalogue is not None:
        with _told("The server may not have been read again by all processes"):
            await ask.aggregator.renewal.refresh(named(row.name, row.owner_id))
        if catalogue.server.state == "ready":
            await asyncio.wait([catalogue.refresh()], timeout=REFRESH_SECONDS)
        else:
            await _ready(catalogue.ready())
    return Reply(body=health_of(ask.aggregator, row, ask.caller))


@contextlib.contextmanager
def _told(undone: str) -> Iterator[None]:
    """Say in the API's form that the other processes cannot be told."""
    try:
        yield
    except BusUnavailable:
        raise Problem(503, f"{undone}: {UNREACHABLE}", headers=[(b"retry-after", b"1")]) from None


async def _ready(waiting: Any) -> None:
    try:
        async with asyncio.timeout(REFRESH_SECONDS):
            await waiting
    except TimeoutError:
        return  # the answer tells the state


async def _noted(ask: Ask, action: str) -> models.Server:
    async with ask.store.write(ask.caller) as tx:
        row = await servers.get(tx, ask.caller, ask.id)
        check_change(ask.caller, row)
        tx.note(action, row)
    return row


async def _shown(tx: Reader, ask: Ask, row: models.Server, *, include: bool = False) -> Server:
    if include:
        return Server.of(row, servers.shown_secrets(tx, ask.caller, row), include=True)
    secrets: ServerSecrets | None
    try:
        secrets = tx.secrets(row)
    except SecretsError:
        # One lost key must not hide the whole list, nor keep anybody from setting the secrets again.
        secrets = None
    return Server.of(row, secrets)


def _unmasked(row: models.Server, secrets: ServerSecrets, given: ServerChanges) -> ServerChanges:
    """Return changes in which what came back as it was shown, with ``***``, means no change.

    Raises:
        Invalid: It came back in a place where nobody can tell which secret it stands for.
    """
    kept: dict[str, Any] = {}
    if given.url is not UNSET and (url := shown_url(row, secrets)) != (secrets.url or row.url):
        if given.url == url:
            kept["url"] = UNSET
        elif MASK in given.url:
            raise Invalid("url", f"has a hidden secret, {MASK}, and is another one; write the secret itself")
    whole, masks = secrets.args or row.args, shown_args(row, secrets)
    hidden = {mask for mask, arg in zip(masks, whole, strict=True) if mask != arg}
    if given.args is not UNSET and hidden:
        args = list(given.args)
        left = set(range(len(args)))
        for block in SequenceMatcher(None, masks, args, autojunk=False).get_matching_blocks():
            args[block.b : block.b + block.size] = whole[block.a : block.a + block.size]
            left.difference_update(range(block.b, block.b + block.size))
        for place in sorted(left):
            if args[place] in hidden:
                raise Invalid(f"args[{place}]", "stands for a secret that was elsewhere; write the secret itself")
        kept["args"] = args
    return structs.replace(given, **kept)


_PATH = "/servers/{id:uuid}"

OPERATIONS = (
    Operation(
        method="GET",
        path="/servers",
        name="listServers",
        summary="List servers.",
        run=_list,
        gives=ServerPage,
        query=(*PAGED, *FOUND_BY, SECRETS),
    ),
    Operation(
        method="POST",
        path="/servers",
        name="createServer",
        summary="Add a server.",
        run=_create,
        takes=NewServer,
        gives=Server,
        status=201,
    ),
    Operation(
        method="GET", path=_PATH, name="getServer", summary="Read a server.", run=_get, gives=Server, query=(SECRETS,)
    ),
    Operation(
        method="PATCH",
        path=_PATH,
        name="updateServer",
        run=_update,
        takes=ServerChanges,
        gives=Server,
        conditional=True,
        summary="Change a server; `env` and `headers` are merged by name, and null removes one.",
    ),
    Operation(
        method="DELETE",
        path=_PATH,
        name="deleteServer",
        summary="Remove a server.",
        run=_delete,
        status=204,
        conditional=True,
    ),
    Operation(
        method="GET",
        path=f"{_PATH}/tools",
        name="listServerTools",
        run=_tools,
        gives=ToolPage,
        query=(*PAGED, searching("name, title or description")),
        running=True,
        summary="List the tools that a server offers now, in its own names.",
    ),
    Operation(
        method="GET",
        path=f"{_PATH}/health",
        name="getServerHealth",
        summary="Tell how a server does.",
        run=_health,
        gives=ServerHealth,
        running=True,
    ),
    Operation(
        method="POST",
        path=f"{_PATH}/reset",
        name="resetServer",
        run=_reset,
        gives=ServerHealth,
        running=True,
        summary="End all sessions with a server, or its process, and connect anew; calls in flight fail.",
    ),
    Operation(
        method="POST",
        path=f"{_PATH}/refresh",
        name="refreshServer",
        run=_refresh,
        gives=ServerHealth,
        running=True,
        summary="Read again what a server offers, and wait for it for up to 10 seconds.",
    ),
    Operation(
        method="GET",
        path="/health",
        name="getHealth",
        summary="Tell how all servers do.",
        run=_all_health,
        gives=Health,
        query=(IDS,),
        running=True,
    ),
)
