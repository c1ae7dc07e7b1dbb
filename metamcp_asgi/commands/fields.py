"""The body of an operation as options: one for each field, made of the type that the API decodes it to.

Knows what fields there are and what they are called; that a value is right is for the API to say.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import click
import msgspec
from msgspec import Struct, inspect

from metamcp_asgi.commands.values import is_pairs, way_of

__all__ = ["Field", "body_of", "fields_of", "options_of"]

_NAMES: Final[Mapping[str, str]] = {"url": "server-url"}
"""Options that are not called as their field: ``--url`` is the gateway's."""

_HELP: Final[Mapping[str, str]] = {
    "active": "Whether it takes part.",
    "admin": "Whether things can be managed with it.",
    "annotations": "Merged into the server's own annotations: JSON.",
    "answers": "The answer to one of the questions of the way, by its key.",
    "api_key_auth": "Whether an API key is asked for.",
    "args": "An argument of the command; once for each.",
    "client_rate_limit": 'JSON: {"maxRate": 10, "maxRateSeconds": 60, "strategy": "ip"}, or "principal", or "header".',
    "command": "What is started.",
    "cwd": "Where it is started.",
    "description": "What it is for.",
    "disabled": "Whether it is switched off.",
    "email": "Their email address.",
    "enabled": "Whether it is on.",
    "endpoint_ids": "An endpoint that it opens, by name or id; all, when none is given.",
    "env": "A variable; without =VALUE, as it is in this environment.",
    "era": "auto, modern or legacy.",
    "expires_at": "Until when it is valid: 2030-01-31T00:00:00Z.",
    "grace_seconds": "For how many seconds the key before is still good.  [default: 86400]",
    "headers": "A header of every request.",
    "jwks": 'The public keys with which it authenticates, instead of a secret: @FILE with {"keys": [...]}.',
    "listed": "Its name in the registry.",
    "middlewares": 'A middleware, in order: its name, or {"name": {options}}.',
    "name": "What it is called.",
    "namespace_id": "The namespace that it publishes, by name or id.",
    "oauth": 'Whose access tokens are accepted: true for ours, or {"issuer": "https://..."}.',
    "owner_id": "Whose it is: an email address or id.",
    "prefix": "How tools are named: always, never or on-collision.",
    "query_param_auth": "Whether a key in the URL is accepted.",
    "rate_limit": 'JSON: {"maxRate": 100, "maxRateSeconds": 60}.',
    "role": "What they may do.",
    "sandbox": 'What its process sees: true, or JSON: {"network": true, "read": ["/srv/data"]}.',
    "servers": "A server, by name or id, in order; NAME=off for one that is switched off. Replaces all.",
    "sharing": "Who shares a session: auto, shared, principal, session or call.",
    "timeout": "Seconds of silence until a call has failed.",
    "title": "What people read.",
    "token_exchange": "Whether it may exchange tokens of the OpenID provider, of whoever they are.",
    "type": "stdio, sse or streamable_http.  [default: told by command or URL]",
    "url": "Where the server is.",
    "version": "Its version in the registry.",
    "way": "The id of the way in which it is had.",
}


class Field(Struct, frozen=True, kw_only=True):
    """A field of a body, and its option.

    Args:
        name: Its name in Python, by which the option's value is passed on.
        key: Its name in JSON.
        option: The option's name without dashes.
        read: Makes of the option's value the field's.
        required: Whether the API needs it.
        cleared: Its value when it is taken away; ``UNSET``: it cannot be.
        removable: Whether single entries can be removed.
        how: How click is to take the option.
    """

    name: str
    key: str
    option: str
    read: Callable[[Any], Any]
    required: bool
    cleared: Any
    removable: bool
    how: dict[str, Any]


def fields_of(takes: Any) -> list[Field]:
    """Return the fields of a type of bodies; none, where it is not a Struct."""
    try:
        kind = inspect.type_info(takes)
    except TypeError:  # its schema is told elsewhere
        return []
    return [_field(each) for each in kind.fields] if isinstance(kind, inspect.StructType) else []


def options_of(fields: Sequence[Field], *, changes: bool) -> list[click.Option]:
    """Return the options of a body.

    Args:
        fields: Its fields.
        changes: Whether an object is changed, so that something can be taken away from it.
    """
    options: list[click.Option] = []
    for field in fields:
        names = [f"--{field.option}", f"body_{field.name}"]
        if field.how.get("is_flag"):
            names[0] = f"--{field.option}/--no-{field.option}"
        options.append(click.Option(names, **field.how))
        if field.name == "owner_id":
            options.append(
                click.Option(["--public", "body_public"], is_flag=True, help="It is nobody's: for everybody.")
            )
        if field.removable and changes:
            names = [f"--remove-{field.option}", f"remove_{field.name}"]
            options.append(click.Option(names, multiple=True, metavar="NAME", help="Take the one of this name away."))
    clearable = [field.option for field in fields if field.cleared is not msgspec.UNSET]
    if clearable and changes:
        shown = "Take this away: null in JSON, or an empty list."
        options.append(click.Option(["--clear", "clear"], type=click.Choice(clearable), multiple=True, help=shown))
    return options


def body_of(fields: Sequence[Field], values: Mapping[str, Any], data: Any, *, changes: bool) -> Any:
    """Return the body that options, and ``--data`` under them, stand for.

    Args:
        fields: The fields of the body.
        values: All parameters of the command.
        data: What ``--data`` says; ``UNSET``: it is not given.
        changes: Whether an object is changed, so that something must be said.

    Raises:
        click.UsageError: There is nothing in it, or something is missing, or options contradict each other.
    """
    given: dict[str, Any] = {}
    for field in fields:
        value = values.get(f"body_{field.name}")
        if value not in (None, ()):
            given[field.key] = field.read(value)
        for name in values.get(f"remove_{field.name}") or ():
            given.setdefault(field.key, {})[name] = None
        if field.option in (values.get("clear") or ()):
            if field.key in given:
                raise click.UsageError(f"--clear {field.option} contradicts --{field.option}")
            given[field.key] = field.cleared
    if values.get("body_public"):
        if "ownerId" in given:
            raise click.UsageError("--public contradicts --owner")
        given["ownerId"] = None
    if data is msgspec.UNSET:
        for field in fields:
            if field.required and field.key not in given:
                raise click.MissingParameter(param_type="option", param_hint=f"'--{field.option}'")
        if changes and not given:
            raise click.UsageError("nothing is to be changed: say what by an option, or by --data")
        return given
    if given and not isinstance(data, dict):
        raise click.UsageError("--data must be an object where options are given, too")
    return {**data, **given} if given else data


def _field(field: inspect.Field) -> Field:
    kind, nullable = field.type, False
    described = None
    if isinstance(kind, inspect.Metadata):
        described = (kind.extra_json_schema or {}).get("description")
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        nullable = any(isinstance(each, inspect.NoneType) for each in kind.types)
        others = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
        kind = others[0] if len(others) == 1 else kind
    option = field.name.removesuffix("_ids").removesuffix("_id")
    repeated = isinstance(kind, inspect.ListType) or is_pairs(kind)
    option = _NAMES.get(field.name, option.removesuffix("s") if repeated else option.replace("_", "-"))
    read, how = way_of(kind, field.name, option)
    cleared: Any = None if nullable else [] if isinstance(kind, inspect.ListType) else msgspec.UNSET
    return Field(
        name=field.name,
        key=field.encode_name,
        option=option,
        read=read,
        required=field.required,
        cleared=cleared,
        removable=is_pairs(kind),
        how={"help": described or _HELP.get(field.name), "default": None, **how},
    )
