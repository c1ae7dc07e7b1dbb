"""The form of a server: from the server to the fields of the form, and from what was sent to the body of an operation.

Lists are texts with a line for each entry; JSON for those that no lines can say. What is secret has no value here: an
empty field means that nothing changes. Knows what the API takes; that a value is right is for the API to say.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from metamcp_asgi.admin.api.problem import Fault, Problem, sentence
from metamcp_asgi.admin.api.shapes import Server
from metamcp_asgi.admin.pages.desk import Refused
from metamcp_asgi.config.snapshot import DEFAULT_TIMEOUT
from metamcp_asgi.pages.forms import Form

__all__ = ["blank", "body_of", "errors_of", "filled", "typed"]

_TEXTS: Final = (
    "name", "description", "type", "owner", "command", "args", "cwd", "env", "url", "headers", "bearerToken",
    "oauth", "grant", "clientId", "clientSecret", "privateKey", "keyId", "algorithm", "scopes", "era", "sharing",
    "timeout", "read", "write",
)  # fmt: skip
_SWITCHES: Final = ("disabled", "dropToken", "dropSecret", "dropKey", "sandbox", "network")
_SEPARATORS: Final = {"env": "=", "headers": "=:"}


def blank(kind: str, owner: str) -> dict[str, Any]:
    """Return the fields of a form for a new server.

    Args:
        kind: Its transport.
        owner: The id of its owner.
    """
    usual = {"type": kind, "owner": owner, "oauth": "auto", "grant": "server", "era": "auto", "sharing": "auto"}
    return {
        **dict.fromkeys(_TEXTS, ""),
        **dict.fromkeys(_SWITCHES, False),
        **usual,
        "timeout": _number(DEFAULT_TIMEOUT),
        "envNames": (),
        "headerNames": (),
        "kept": {},
        "dropped": frozenset(),
    }


def filled(server: Server) -> dict[str, Any]:
    """Return the fields of a form for a server as it is."""
    oauth = server.oauth or {}
    return {
        **blank(server.type, "public" if server.owner_id is None else str(server.owner_id)),
        "name": server.name,
        "description": server.description,
        "command": server.command,
        "args": _lines(server.args),
        "cwd": server.cwd or "",
        **_sandbox(server.sandbox),
        "url": server.url,
        "oauth": oauth.get("flow", "auto"),
        "grant": oauth.get("grant", "server"),
        "clientId": oauth.get("clientId", ""),
        "keyId": oauth.get("keyId", ""),
        "algorithm": oauth.get("algorithm", ""),
        "scopes": " ".join(oauth.get("scopes", ())),
        "era": server.era,
        "sharing": server.sharing,
        "timeout": _number(server.timeout),
        "disabled": server.disabled,
        "envNames": server.env_names,
        "headerNames": server.header_names,
    }


def typed(form: Form, server: Server | None) -> dict[str, Any]:
    """Return the fields of a form as somebody has sent it, to be shown to them again."""
    names = {} if server is None else {"env": server.env_names, "headers": server.header_names}
    fields = [f"{kind}.{name}" for kind, known in names.items() for name in known]
    return {
        # A password field hides what was typed, and the text of a key does not.
        **{name: form[name] if name != "privateKey" else "" for name in _TEXTS},
        **{name: name in form for name in _SWITCHES},
        "envNames": names.get("env", ()),
        "headerNames": names.get("headers", ()),
        "kept": {field: form[field] for field in fields},
        "dropped": frozenset(form.all("drop")),
    }


def body_of(form: Form, server: Server | None) -> dict[str, Any]:
    """Return the body of ``createServer``, or of ``updateServer`` for a server.

    Raises:
        Refused: A list cannot be read.
    """
    body: dict[str, Any] = {name: form[name].strip() for name in ("name", "description", "type", "era", "sharing")}
    body |= {"timeout": _seconds(form["timeout"]), "disabled": "disabled" in form}
    if "owner" in form:
        body["ownerId"] = None if form["owner"] == "public" else form["owner"]
    if form["type"] == "stdio":
        body |= {
            "command": form["command"].strip(),
            "args": _args(form["args"], "args"),
            "cwd": form["cwd"].strip() or None,
        }
        sandbox = _boxed(form)
        if sandbox != (None if server is None else _boxed_now(server)):
            # Not otherwise: who may not decide what is started may change the rest of what is theirs.
            body["sandbox"] = sandbox
        return body | {"env": _pairs(form, "env", () if server is None else server.env_names)}
    body |= {"url": form["url"].strip(), "oauth": _oauth(form, server is not None and server.has_private_key)}
    body["headers"] = _pairs(form, "headers", () if server is None else server.header_names)
    if form["bearerToken"] or "dropToken" in form:
        body["bearerToken"] = form["bearerToken"] or None
    return body


def errors_of(refused: Refused) -> Mapping[str, str]:
    """Return what is wrong with each field of the form, by its pointer: that of an entry is said at its list."""
    found: dict[str, str] = {}
    for pointer, reason in refused.fields.items():
        _, first, *rest = f"{pointer}/".split("/")
        place = ".".join(str(int(step) + 1) if step.isdecimal() else step for step in rest if step)
        # What is wrong within these has a field of its own.
        if first in ("oauth", "sandbox") and place:
            first, _, place = place.partition(".")
        found.setdefault(f"/{first}", sentence(f"{place}: {reason}" if place else reason))
    return found


def _oauth(form: Form, has_key: bool) -> Any:
    mode = form["oauth"]
    if mode in ("auto", ""):
        return None
    if mode == "none":
        return False
    value: dict[str, Any] = {"flow": mode, "grant": form["grant"] if mode == "authorization_code" else "server"}
    value["clientId"] = form["clientId"].strip() or None
    value["scopes"] = form["scopes"].split() or None
    # What is typed takes the place of the other.
    secret, key = form["clientSecret"], form["privateKey"].strip()
    if secret or key or "dropSecret" in form or value["clientId"] is None:
        value["clientSecret"] = secret or None
    if secret or key or "dropKey" in form or value["clientId"] is None:
        value["privateKey"] = key or None
    gone = has_key and value.get("privateKey", "") is None
    return value | {name: None if gone else form[name].strip() or None for name in ("keyId", "algorithm")}


def _sandbox(sandbox: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a sandbox."""
    known = sandbox or {}
    paths = {name: _lines(known.get(name, ())) for name in ("read", "write")}
    return {"sandbox": sandbox is not None, "network": known.get("network", False), **paths}


def _boxed_now(server: Server) -> dict[str, Any] | None:
    if server.sandbox is None:
        return None
    return {
        "network": server.sandbox.get("network", False),
        **{n: list(server.sandbox.get(n, ())) for n in ("read", "write")},
    }


def _boxed(form: Form) -> dict[str, Any] | None:
    """Return the sandbox that a form asks for."""
    if "sandbox" not in form:
        return None
    return {"network": "network" in form, **{name: _args(form[name], name) for name in ("read", "write")}}


def _lines(args: Sequence[str]) -> str:
    """Return arguments as text: a line for each, or JSON where that would be read as others."""
    text = "\n".join(args)
    if not text.lstrip().startswith("[") and _args(text, "args") == list(args):
        return text
    return msgspec.json.encode(list(args)).decode()


def _args(text: str, field: str) -> list[str]:
    text = text.strip()
    if not text.startswith("["):
        return [line.strip() for line in text.split("\n") if line.strip()]
    listed: list[str] = _json(text, list[str], field, 'begins with "[" and is no JSON list of texts')
    return listed


def _pairs(form: Form, kind: str, known: Sequence[str]) -> dict[str, str | None]:
    """Return variables or headers: what was typed for those that there are, and those that were added."""
    dropped = form.all("drop")
    found: dict[str, str | None] = {name: value for name in known if (value := form[f"{kind}.{name}"])}
    found |= {name: None for name in known if f"{kind}.{name}" in dropped}
    text = form[kind].strip()
    if text.startswith("{"):
        added: dict[str, str] = _json(text, dict[str, str], kind, 'begins with "{" and is no JSON object of texts')
        return {**found, **added}
    for number, line in enumerate(text.split("\n"), start=1):
        signs = [line.find(sign) for sign in _SEPARATORS[kind] if sign in line]
        name = line[: min(signs)].strip() if signs else ""
        if name:
            found[name] = line[min(signs) + 1 :].strip()
        elif line.strip():
            raise _refused(kind, f"line {number} is not NAME=VALUE")
    return found


def _json(text: str, kind: Any, field: str, reason: str) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.MsgspecError:
        raise _refused(field, reason) from None


def _refused(field: str, reason: str) -> Refused:
    return Refused(Problem(422, sentence(f"/{field}: {reason}"), [Fault(reason, pointer=f"/{field}")]))


def _seconds(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # the API says what is right


def _number(value: float) -> str:
    return f"{value:g}"
