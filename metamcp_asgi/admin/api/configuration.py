"""The whole configuration at once: exported, planned against, and made what a document says.

Does what ``metamcp export``, ``plan`` and ``apply`` do, for who may. Knows nothing of what a document may say.
"""

from collections.abc import Sequence
from typing import Any, Literal

from metamcp_asgi.admin.api.access import note_shown, secrets_included
from metamcp_asgi.admin.api.body import JSON, YAML, Text
from metamcp_asgi.admin.api.documents import Configuration, compiled, parsed, told
from metamcp_asgi.admin.api.operation import SECRETS, Ask, Operation, Parameter, Reply
from metamcp_asgi.admin.api.problem import Problem
from metamcp_asgi.admin.api.scopes import OWNER, check_changes, revision_of, scope_of
from metamcp_asgi.admin.api.shapes import Shape
from metamcp_asgi.config.export import Exported, export, to_text
from metamcp_asgi.config.plan import Change
from metamcp_asgi.store.apply import apply, planned
from metamcp_asgi.store.scope import Scope

__all__ = ["OPERATIONS"]

_FORMAT = Parameter("format", Literal["yaml", "json"], "Wins over `Accept`; without either it is YAML.")
_PRUNE = Parameter("prune", bool, "Whether what the document does not have is removed.", False)


class Plan(Shape, frozen=True, kw_only=True, rename="camel"):
    """What changes, or did; `keep` is what only the store has. Secrets are compared, and shown as ``***``.

    ``revision`` is the state of the store that this is about, for ``If-Match``; after an apply, the one it made.
    """

    revision: int
    changes: Sequence[Change]


async def _export(ask: Ask) -> Reply:
    include = secrets_included(ask)
    kind = ask.query[_FORMAT.name] or _acceptable(ask.accept)
    async with ask.store.read() as tx:
        revision = await revision_of(tx)
        scope = await scope_of(tx, ask)
    if include:
        await note_shown(ask, scope.servers.values())
    with told(409):
        exported = export(scope.snapshot, with_secrets=include)
    text = to_text(exported.document, kind, _comment(exported, scope))
    # Each form is a representation of its own, which a validator must tell from the others (RFC 9110 8.8.3).
    version = f"{revision.number}-{kind}" + ("-secrets" if include else "")
    return Reply(body=text.encode(), version=version, kind=JSON if kind == "json" else YAML)


async def _plan(ask: Ask, text: Text) -> Reply:
    given = await parsed(text)
    async with ask.store.read() as tx:
        revision = await revision_of(tx)
        scope = await scope_of(tx, ask)
        wanted = await compiled(given, scope)
        with told():
            changes = planned(scope, wanted, prune=ask.query[_PRUNE.name])
        await check_changes(tx, ask.caller, scope, wanted, changes)
    return Reply(body=Plan(revision=revision.number, changes=changes), version=revision.number)


async def _apply(ask: Ask, text: Text) -> Reply:
    given = await parsed(text)
    prune = ask.query[_PRUNE.name]
    async with ask.store.write(ask.caller) as tx:
        revision = await revision_of(tx)
        # The tag of an export begins with the revision, too.
        if ask.tag is not None and ask.tag.partition("-")[0] != str(revision.number):
            raise Problem(412, "The store was changed in the meantime; plan again.")
        scope = await scope_of(tx, ask)
        wanted = await compiled(given, scope)
        with told():
            await check_changes(tx, ask.caller, scope, wanted, planned(scope, wanted, prune=prune))
            changes = await apply(tx, scope.owner_id, wanted, prune=prune)
    return Reply(body=Plan(revision=revision.number, changes=changes), version=revision.number)


def _acceptable(accept: str) -> Literal["yaml", "json"]:
    """Return which form a client would rather have (RFC 9110 12.5.1); what it takes of neither is YAML."""
    wanted = {"yaml": 0.0, "json": 0.0}
    for part in accept.split(","):
        kind, *parameters = (each.strip().lower() for each in part.split(";"))
        weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
        try:
            weight = float(weights[0]) if weights else 1.0
        except ValueError:
            weight = 0.0
        name = kind.rpartition("/")[2].removeprefix("x-")
        if name in wanted:
            wanted[name] = max(wanted[name], weight)
        elif name == "*":  # less than what is named, and no reason against the default
            wanted["yaml"] = max(wanted["yaml"], weight / 1000)
    return "json" if wanted["json"] > wanted["yaml"] else "yaml"


def _comment(exported: Exported, scope: Scope) -> str:
    needed = [f"  {name}" for name in exported.variables]
    unsaid = [f"  {line}" for line in scope.unsaid]
    return "\n".join(
        [
            *(["Needs these variables, in the environment or in a file .env:", *needed] if needed else ()),
            *(["Not in this file:", *unsaid] if unsaid else ()),
        ]
    )


_BODY: dict[str, Any] = {"takes": Configuration, "raw": (JSON, YAML), "gives": Plan, "query": (_PRUNE, OWNER)}

OPERATIONS = (
    Operation(
        method="GET",
        path="/export",
        name="exportConfiguration",
        run=_export,
        gives=Configuration,
        kinds=(YAML, JSON),
        query=(_FORMAT, SECRETS, OWNER),
        summary="Write the configuration as a document, its secrets as `${VAR}`.",
    ),
    Operation(
        method="POST",
        path="/plan",
        name="planConfiguration",
        run=_plan,
        summary="Tell what would change if a document were applied.",
        **_BODY,
    ),
    Operation(
        method="POST",
        path="/apply",
        name="applyConfiguration",
        run=_apply,
        conditional=True,
        summary="Make the configuration what a document says: all of it, or nothing.",
        **_BODY,
    ),
)
