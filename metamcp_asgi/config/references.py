"""Secrets turned into variables: ``${VAR}`` in a document, and the values apart from it.

A variable is called ``{SERVER}_{LABEL}``, or only by its label if that begins with the server's name: ``GITHUB_TOKEN``.
The name depends on names only, so that it stays the same when a secret changes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from metamcp_asgi.config.dialects import escaped, variable_name
from metamcp_asgi.config.sensitive import Span, in_args, in_url, plain_env, plain_header

__all__ = ["References", "with_references"]


class References:
    """Writes a variable for each secret (a ``Secrets`` of ``document``).

    Attributes:
        variables: The variables so far, with their values.
    """

    __slots__ = ("variables",)

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}

    def written(self, server: str, label: str, value: str) -> str:
        """Return the reference to a new variable that holds ``value``."""
        mine, what = variable_name(server), variable_name(label)
        base = what if what == mine or what.startswith(f"{mine}_") else variable_name(server, label)
        name, number = base, 1
        while name in self.variables:
            number += 1
            name = f"{base}_{number}"
        self.variables[name] = value
        return f"${{{name}}}"

    def within(self, server: str, text: str, spans: Sequence[Span]) -> str:
        """Return ``text`` for a document, with references in the place of some of its parts."""
        parts, end = "", 0
        for span in spans:
            # A "$" directly before a reference would turn it into a literal.
            if span.start > end and text[span.start - 1] == "$":
                return self.written(server, spans[0].label, text)
            parts += escaped(text[end : span.start]) + self.written(server, span.label, text[span.start : span.end])
            end = span.end
        return parts + escaped(text[end:])


def with_references(document: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, str]]:
    """Take the secrets out of a document; a text that has variables already stays as it is.

    Args:
        document: A document that compiles, or would if its variables were set.

    Returns:
        The document with variables, and their values.
    """
    references = References()
    servers = {}
    for name, given in document["mcpServers"].items():
        entry = dict(given)
        for key, plain in (("env", plain_env), ("headers", plain_header)):
            if key in entry:
                entry[key] = {
                    label: text if _has_variable(text) or plain(label, text) else _new(references, name, label, text)
                    for label, text in entry[key].items()
                }
        if "bearerToken" in entry and not _has_variable(entry["bearerToken"]):
            entry["bearerToken"] = _new(references, name, "token", entry["bearerToken"])
        oauth = entry.get("oauth")
        if isinstance(oauth, dict):
            for key, label in (("clientSecret", "client_secret"), ("privateKey", "private_key")):
                if key in oauth and not _has_variable(oauth[key]):
                    oauth = {**oauth, key: _new(references, name, label, oauth[key])}
            entry["oauth"] = oauth
        if "args" in entry:
            found = list(in_args([_plain(arg) for arg in entry["args"]]))
            entry["args"] = [
                arg if _has_variable(arg) else references.within(name, _plain(arg), spans)
                for arg, spans in zip(entry["args"], found, strict=True)
            ]
        if "url" in entry and not _has_variable(entry["url"]):
            url = _plain(entry["url"])
            entry["url"] = references.within(name, url, in_url(url))
        servers[name] = entry
    return {**document, "mcpServers": servers}, references.variables


def _new(references: References, server: str, label: str, text: str) -> str:
    return references.written(server, label, _plain(text))


def _has_variable(text: str) -> bool:
    return "${" in text.replace("$${", "")


def _plain(text: str) -> str:
    return text.replace("$${", "${")
