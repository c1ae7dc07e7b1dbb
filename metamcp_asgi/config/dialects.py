"""The ways in which other programs write variables into a text, rewritten as ours.

Ours is ``${VAR}``, ``${VAR:-default}`` and ``$${`` for a literal ``${`` (see ``interpolate``). Knows nothing of
servers; what a rewriting needs of the operator is collected in a ``Needs``.
"""

import re
from collections.abc import Callable
from typing import Final, TypeAlias

__all__ = ["Needs", "Rewrite", "client_text", "escaped", "literal", "metamcp_env", "variable_name"]

Rewrite: TypeAlias = Callable[[str, "Needs"], str]

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*"
_WHOLE: Final = re.compile(rf"\$\{{({_NAME})\}}")
# An unclosed "${" matches, too, so that nothing passes as a reference that isn't one.
_REFERENCE: Final = re.compile(r"\$\{(?:(?P<kind>env|input|config|command):)?(?P<rest>[^{}]*)\}|\$\{")
_OURS: Final = re.compile(rf"({_NAME})(:-[^}}]*)?")
_PLACES: Final = {
    "userHome": "HOME",
    "workspaceFolder": "WORKSPACE_FOLDER",
    "workspaceRoot": "WORKSPACE_FOLDER",
    "workspaceFolderBasename": "WORKSPACE_FOLDER_BASENAME",
    "cwd": "PWD",
}
_SIGNS: Final = {"pathSeparator": "/", "/": "/"}


class Needs:
    """What the texts of one file ask of the environment.

    Attributes:
        variables: Names of variables that must be set, in the order met, each with what it is for.
        unknown: References that could not be rewritten and are now plain text.
    """

    __slots__ = ("unknown", "variables")

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        self.unknown: list[str] = []

    def variable(self, name: str, purpose: str = "") -> str:
        """Record a variable and return its reference."""
        if purpose or name not in self.variables:
            self.variables[name] = purpose
        return f"${{{name}}}"


def escaped(text: str) -> str:
    """Return ``text`` so that ``interpolate`` gives it back as it is."""
    return text.replace("${", "$${")


def literal(text: str, _needs: Needs) -> str:
    """Rewrite a text in which the other program replaces nothing."""
    return escaped(text)


def metamcp_env(text: str, needs: Needs) -> str:
    """Rewrite a value of MetaMCP's ``env``, which is a reference only as a whole (dossier 1.6)."""
    whole = _WHOLE.fullmatch(text)
    return needs.variable(whole[1]) if whole else escaped(text)


def client_text(text: str, needs: Needs) -> str:
    """Rewrite a text of a client: ``${env:VAR}``, ``${input:id}``, ``${userHome}``, ``${VAR}``, ``${VAR:-x}``."""

    def rewritten(found: re.Match[str]) -> str:
        kind, rest = found["kind"], found["rest"]
        if rest is None:
            needs.unknown.append("${")
            return "$${"
        if kind == "input":
            return needs.variable(variable_name(rest), f"the input {rest}")
        if kind == "env" and re.fullmatch(_NAME, rest):
            return needs.variable(rest)
        if kind is None and rest in _SIGNS:
            return _SIGNS[rest]
        if kind is None and rest in _PLACES:
            return needs.variable(_PLACES[rest], f"in place of ${{{rest}}}")
        ours = _OURS.fullmatch(rest) if kind is None else None
        if ours and ours[2] is not None:
            return found[0]
        if ours:
            return needs.variable(rest)
        needs.unknown.append(found[0])
        return escaped(found[0])

    return _REFERENCE.sub(rewritten, text)


def variable_name(*words: str) -> str:
    """Return the name of a variable that is made of ``words``: upper case, ``_`` for what a name can't have."""
    name = re.sub(r"[^A-Z0-9]+", "_", "_".join(words).upper()).strip("_") or "VALUE"
    return f"_{name}" if name[0].isdigit() else name
