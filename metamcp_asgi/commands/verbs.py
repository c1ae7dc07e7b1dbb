"""From a row of the management API's route table to a command: its name, arguments and options, and its run.

Path parameters are arguments, query parameters and the fields of the body are options. What is answered is printed as
it is (``--json``), or in words. Knows the table's columns; knows nothing of any object.
"""

import re
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final
from uuid import UUID

import click
import msgspec

from metamcp_asgi.admin.api.application import OPERATIONS
from metamcp_asgi.admin.api.operation import Operation, Parameter
from metamcp_asgi.commands.fields import Field, body_of, fields_of, options_of
from metamcp_asgi.commands.reach import Reach, Refused, whole
from metamcp_asgi.commands.references import PARTS, Names, identified, of_part, singular
from metamcp_asgi.commands.shown import in_words
from metamcp_asgi.commands.terminal import harmless
from metamcp_asgi.commands.values import json_of
from metamcp_asgi.commands.where import options_where, with_reach

__all__ = ["command_of", "commands_of", "group_of", "operation_of", "verb_of"]

_GROUPED: Final[Mapping[str, str]] = {"/namespaces/{id:uuid}/tools": "tools"}
"""Where a group begins below another one."""

_FLAGS: Final[Mapping[str, str]] = {"secrets": "include", "details": "include"}
"""Query parameters that have one value only."""

_SAID: Final[Mapping[str, bool]] = {"yes": True, "on": True, "no": False, "off": False}
_DONE: Final[Mapping[str, str]] = {"delete": "deleted", "clear": "cleared"}
_TAG: Final = re.compile(r'\*|(W/)?"[\x21\x23-\x7e]*"')
_UNTOUCHED: Final = '"0"'
"""The entity tag of a tool without settings, which nothing that does not run can read."""


def group_of(operation: Operation) -> str:
    """Return the group that an operation is a command of."""
    below = next((group for path, group in _GROUPED.items() if operation.path.startswith(path)), None)
    return below or operation.path.split("/")[1]


def verb_of(operation: Operation) -> str:
    """Return the name of an operation's command: its own, without what its group says already."""
    verb, *rest = (word.lower() for word in re.findall(r"[A-Z]?[a-z]+", operation.name))
    group = group_of(operation)
    rest = [word for word in rest if word not in (group, singular(group))]
    return "-".join(rest if rest and verb in ("get", "list") else [verb, *rest])


def operation_of(name: str) -> Operation:
    """Return an operation by its name."""
    return next(operation for operation in OPERATIONS if operation.name == name)


def commands_of(group: str, *, leaving_out: Collection[str] = ()) -> dict[str, click.Command]:
    """Return the commands of a group by their names.

    Args:
        group: The group's name.
        leaving_out: The names of operations that get none.
    """
    made: dict[str, click.Command] = {}
    for operation in OPERATIONS:
        if group_of(operation) != group or operation.name in leaving_out:
            continue
        verb = verb_of(operation)
        made[verb] = command_of(operation, verb)
        if verb == "update" and any(field.name == "disabled" for field in fields_of(operation.takes)):
            for switch, state in (("disable", True), ("enable", False)):
                shown = f"Switch a {singular(group)} {'off' if state else 'on'}."
                made[switch] = command_of(operation, switch, fixed={"disabled": state}, help_=shown)
    return made


def command_of(
    operation: Operation, name: str, *, fixed: Mapping[str, Any] | None = None, help_: str | None = None
) -> click.Command:
    """Return the command that carries out an operation.

    Args:
        operation: The row of the route table.
        name: The command's name.
        fixed: The body, where it is always the same.
        help_: What it does; by default the operation's summary.
    """
    fields = fields_of(operation.takes) if fixed is None and operation.takes is not None else []
    params: list[click.Parameter] = [
        click.Argument(
            [f"path_{part}"], metavar=(part if part != "id" else singular(of_part(operation.path, part))).upper()
        )
        for part, _ in PARTS.findall(operation.path)
    ]
    params += [_query_option(parameter) for parameter in operation.query]
    if operation.takes is not None and fixed is None:
        if not fields:
            params.append(click.Argument(["pairs"], metavar="[NAME=VALUE]...", nargs=-1))
        params += options_of(fields, changes=operation.method == "PATCH")
        shown = "The whole body, or what options do not say of it."
        params.append(click.Option(["--data"], metavar="JSON|@FILE|-", help=shown))
    if operation.conditional:
        shown = "Only when its ETag is this one; * stands for any.  [default: as it is now]"
        params.append(click.Option(["--if-match"], metavar="TAG", help=shown))
    own_url = any(field.option == "server-url" for field in fields)
    params += [
        click.Option(["--json", "as_json"], is_flag=True, help="Print what the API answers, for scripts."),
        *options_where(own_url=own_url),
    ]
    summary = help_ or operation.summary.replace("`", '"')
    return click.Command(name, params=params, callback=partial(_run, operation, name, fields, fixed), help=summary)


def _run(operation: Operation, verb: str, fields: list[Field], fixed: Mapping[str, Any] | None, **values: Any) -> None:
    read = ["data", *(f"body_{field.name}" for field in fields if str(field.how.get("metavar")).endswith("|-"))]
    if [values.get(name) for name in read].count("-") + values["key_stdin"] > 1:
        raise click.UsageError("the standard input can be read once only")
    condition = _condition(values.get("if_match"))
    query = {each.name: values[f"query_{each.name}"] for each in operation.query}
    query = {name: value for name, value in query.items() if value is not None}
    body: Any = fixed
    if body is None and operation.takes is not None:
        data = msgspec.UNSET if values["data"] is None else json_of(values["data"], "data")
        changes = operation.method == "PATCH"
        body = body_of(fields, values, data, changes=changes) if fields else _pairs(values["pairs"], data)

    async def work(reach: Reach) -> tuple[Any, str]:
        names = Names(reach, OPERATIONS)
        ids: dict[str, Any] = {}
        for part, kind in PARTS.findall(operation.path):
            text = values[f"path_{part}"]
            ids[part] = UUID(await names.identity(of_part(operation.path, part), text)) if kind == "uuid" else text
        if "after" in (each.name for each in operation.query):
            limit = query.pop("limit", None)
            answer: Any = await whole(reach, operation, ids, query=await names.object_of(query), limit=limit)
        else:
            sent = None if operation.takes is None else msgspec.json.encode(await identified(names, body))
            tag = condition
            if operation.conditional and tag is None:
                tag = await _present(reach, operation, ids)
            content = (await reach.ask(operation, ids, query=query, body=sent, condition=tag)).body
            answer = msgspec.json.decode(content) if content else None
        if answer is None or values["as_json"]:
            return answer, ""
        return answer, await in_words(operation, answer, names)

    answer, words = with_reach(work, values)
    if answer is None:
        if not values["as_json"]:
            what = " ".join(values[f"path_{part}"] for part, _ in PARTS.findall(operation.path))
            click.echo(f"{_DONE.get(verb, 'done:')} {what}")
        return
    click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode() if values["as_json"] else words)
    _remark(operation, answer, as_json=values["as_json"])


def _remark(operation: Operation, answer: Any, *, as_json: bool) -> None:
    """Say what the answer itself does not, where scripts do not read it."""
    for field, secret in (("key", "key"), ("client_secret", "secret")):
        made = field in getattr(operation.gives, "__struct_fields__", ())
        if made and isinstance(answer, dict) and answer.get(field):
            click.echo(f"The {secret} is shown this once, and cannot be had again.", err=True)
    if as_json or not isinstance(answer, dict):
        return
    if answer.get("next"):
        click.echo(f"There are more: --after {answer['next']}", err=True)
    if answer.get("items") == [] and answer.get("state") not in (None, "ready"):
        click.echo(harmless(f"The server's state is {answer['state']}. {answer.get('error', '')}").rstrip(), err=True)


async def _present(reach: Reach, operation: Operation, ids: Mapping[str, Any]) -> str:
    """Return the entity tag, as it is now, of what an operation changes."""
    reading = [
        each
        for each in OPERATIONS
        if each.method == "GET" and (each.path == operation.path or operation.path.startswith(f"{each.path}/"))
    ]
    single = max((each for each in reading if each.name.startswith("get")), key=lambda each: len(each.path))
    try:
        return (await reach.ask(single, ids)).tag or "*"
    except Refused as refused:
        if refused.status != 404:
            raise
        # What has no settings may still get some; what is not there at all, the change itself will tell.
        return _UNTOUCHED


def _condition(text: str | None) -> str | None:
    if text is None:
        return None
    tag = text if text == "*" or '"' in text else f'"{text}"'
    if not _TAG.fullmatch(tag):
        raise click.BadParameter('must be one entity tag, such as 3 or "3", or *', param_hint="'--if-match'")
    return tag


def _pairs(pairs: Collection[str], data: Any) -> Any:
    """Return a body of free names; values are JSON where they can be, and texts otherwise."""
    given: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            raise click.UsageError(f"{pair}: must be NAME=VALUE")
        try:
            given[name] = _SAID[text] if text in _SAID else msgspec.json.decode(text)
        except msgspec.DecodeError:
            given[name] = text
    if data is msgspec.UNSET:
        if not given:
            raise click.UsageError("nothing is to be changed: say what by NAME=VALUE, or by --data")
        return given
    if given and not isinstance(data, dict):
        raise click.UsageError("--data must be an object where values are given, too")
    return {**data, **given} if given else data


def _query_option(parameter: Parameter) -> click.Option:
    names = [f"--{parameter.name}", f"query_{parameter.name}"]
    help_ = parameter.summary.replace("`", '"')
    if parameter.name == "limit":
        return click.Option(names, type=click.IntRange(min=1), help="How many are shown at most.  [default: all]")
    if flag := _FLAGS.get(parameter.name):
        return click.Option(names, is_flag=True, flag_value=flag, default=None, help=help_.partition(": ")[2])
    return click.Option(names, metavar="TEXT", help=help_)
