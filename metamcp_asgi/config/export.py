"""A configuration as the text of a file: YAML or JSON, with every secret as a variable or, if asked for, in clear.

Knows nothing of where the configuration comes from, nor of what a variable is called (``references``).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from metamcp_asgi.config.dialects import escaped
from metamcp_asgi.config.document import document_of
from metamcp_asgi.config.references import References
from metamcp_asgi.config.sensitive import Span
from metamcp_asgi.config.snapshot import Snapshot

__all__ = ["Exported", "dotenv", "export", "to_text"]

_WIDTH: Final = 120


class Exported(Struct, frozen=True):
    """A document and the secrets that it refers to.

    Args:
        document: The document.
        variables: The variables that it needs, with their values; handle with care. Empty with the secrets written.
    """

    document: dict[str, Any]
    variables: Mapping[str, str]


def export(snapshot: Snapshot, *, with_secrets: bool = False) -> Exported:
    """Return the document that compiles to ``snapshot`` in an environment with its variables.

    Args:
        snapshot: What to write.
        with_secrets: Whether secrets stand in the document itself. API keys never do: there are only their digests.

    Raises:
        ConfigError: Something can't be said in a document.
    """
    secrets = _InClear() if with_secrets else References()
    document = document_of(snapshot, secrets)
    return Exported(document, secrets.variables)


def to_text(document: Mapping[str, Any], format: Literal["yaml", "json"], comment: str = "") -> str:  # noqa: A002
    """Return a document as a file's text.

    Args:
        document: The document.
        format: The file's format.
        comment: Lines for the top of a YAML file; JSON has no comments.
    """
    if format == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes texts with line breaks and control characters in double quotes, where they are escaped."""

    # In the other styles PyYAML takes U+0085 for a line break, and a reader of YAML 1.2 doesn't.
    Dumper.add_representer(
        str,
        lambda dumper, text: dumper.represent_scalar(
            "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
        ),
    )
    head = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    body: str = yaml.dump(dict(document), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return f"{head}\n{body}" if head else body


def dotenv(variables: Mapping[str, str]) -> str:
    """Return variables as the text of an ``.env`` file, as ``python-dotenv`` reads it."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in variables.items())


def _quoted(value: str) -> str:
    # It puts variables into what is quoted, too; this one has an empty name, so that its default "$" is what it gives.
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "${:-$}{") + "'"


class _InClear:
    """Writes secrets as they are."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}

    def written(self, server: str, label: str, value: str) -> str:
        return escaped(value)

    def within(self, server: str, text: str, spans: Sequence[Span]) -> str:
        return escaped(text)
