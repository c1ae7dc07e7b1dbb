"""A value together with its place in the document, read with a type in mind.

Every reader either returns what was asked for or raises a ``ConfigError`` that names the exact place. Nothing that was
interpolated is ever quoted in an error, and of free texts nothing at all: they may be secrets.
Knows nothing of what the document describes.
"""

import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from metamcp_asgi.config.interpolate import interpolate
from metamcp_asgi.errors import ConfigError

__all__ = ["Node", "nearest", "step"]

_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_MAX_FREE_DEPTH: Final = 16
_LISTED: Final = 12
_MAX_WORD: Final = 100

Option = TypeVar("Option", bound=str)


class Node:
    """One value of a document.

    Args:
        value: What the parser gave: any JSON-like value.
        environ: Variables for ``${VAR}``.
        source: The document's file, for errors.
        path: Where in the document, for example ``mcpServers.time.args[0]``.
    """

    __slots__ = ("environ", "path", "source", "value")

    def __init__(self, value: object, environ: Mapping[str, str], source: str = "", path: str = "") -> None:
        self.value = value
        self.environ = environ
        self.source = source
        self.path = path

    def at(self, key: str, value: object = None) -> "Node":
        """Return the node of ``value`` at ``key`` of this object."""
        return Node(value, self.environ, self.source, step(self.path, key))

    def error(self, reason: str) -> ConfigError:
        """Return the error that says ``reason`` about this place."""
        return ConfigError(reason, path=self.path, source=self.source)

    def entries(self) -> Iterator[tuple[str, "Node"]]:
        """Iterate over an object whose keys are free."""
        if not isinstance(self.value, dict):
            raise self._not("an object")
        for key, value in self.value.items():
            if not isinstance(key, str):
                raise self.error(f"has a key that is {_kind(key)}; keys must be text, so write it in quotes")
            if not _encodable(key):
                raise self.error("has a key that isn't valid Unicode")
            yield key, self.at(key, value)

    def items(self) -> list["Node"]:
        """Return the elements of a list."""
        if not isinstance(self.value, list):
            raise self._not("a list")
        return [
            Node(value, self.environ, self.source, f"{self.path}[{index}]") for index, value in enumerate(self.value)
        ]

    def read(self, fields: Mapping[str, Callable[["Node"], Any]], required: Sequence[str] = ()) -> dict[str, Any]:
        """Read an object with known keys.

        Args:
            fields: For each known key what reads its value.
            required: The keys that must be there.

        Returns:
            The values of the keys that are there.
        """
        given = dict(self.entries())
        for key in given:
            if key not in fields:
                raise self.error(f"has an unknown key {_quote(key)}{_suggestion(key, fields)}")
        for key in required:
            if key not in given:
                raise self.error(f'needs "{key}"')
        return {key: fields[key](node) for key, node in given.items()}

    def text(self, *, empty: bool = False) -> str:
        """Return a text with its variables put in, which is empty only if ``empty`` allows that."""
        if not isinstance(self.value, str):
            quote = "; write it in quotes" if isinstance(self.value, int | float) else ""
            raise self._not("text", quote)
        try:
            text = interpolate(self.value, self.environ)
        except ValueError as error:
            raise self.error(str(error)) from None
        if not _encodable(text):
            raise self.error("isn't valid Unicode")
        if "\0" in text:
            raise self.error("must not contain a NUL character")
        if not text and not empty:
            raise self.error("must not be empty; leave the key out when there is nothing to say")
        return text

    def free_text(self) -> str:
        """Return a text that may be empty."""
        return self.text(empty=True)

    def texts(self) -> tuple[str, ...]:
        """Return a list of texts, each of which may be empty."""
        return tuple(node.text(empty=True) for node in self.items())

    def flag(self) -> bool:
        """Return a boolean."""
        if not isinstance(self.value, bool):
            raise self._not("true or false")
        return self.value

    def integer(self, *, least: int) -> int:
        """Return a whole number that isn't below ``least``."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self._not("a whole number")
        if not least <= self.value < 2**53:
            raise self.error(f"must be at least {least}" if self.value < least else "is too large")
        return self.value

    def number(self, *, least: float = 0.0, above: float | None = None) -> float:
        """Return a finite number that isn't below ``least``, and is greater than ``above``."""
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise self._not("a number")
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise self.error("must be a finite number")
        if self.value >= 2**53:
            raise self.error("is too large")
        if above is not None and self.value <= above:
            raise self.error(f"must be greater than {above:g}")
        if self.value < least:
            raise self.error(f"must be at least {least:g}")
        return float(self.value)

    def choice(self, options: Sequence[Option]) -> Option:
        """Return one of ``options``."""
        text = self.text()
        for option in options:
            if option == text:
                return option
        written = self._written()
        near = nearest(written, options) if written else None
        hint = f'; did you mean "{near}"?' if near else ""
        raise self.error(f"must be one of {_listed(options)}{hint}")

    def reference(self, kind: str, known: Collection[str]) -> str:
        """Return a name out of ``known``.

        Args:
            kind: What is named, for the error: ``server``.
            known: The names that there are.
        """
        text = self.text()
        if text not in known:
            if not known:
                raise self.error(f"names a {kind} that does not exist: there is none")
            written = self._written()
            if written is None:
                raise self.error(f"names an unknown {kind}; there are {_listed(list(known))}")
            raise self.error(f"names an unknown {kind} {_quote(written)}{_suggestion(written, known)}")
        return text

    def json(self, depth: int = _MAX_FREE_DEPTH) -> Any:
        """Return a value of any JSON type, with variables put into every text in it."""
        if depth == 0:
            raise self.error("is nested too deeply")
        if self.value is None or isinstance(self.value, int):
            return self.value
        if isinstance(self.value, float):
            if not math.isfinite(self.value):
                raise self.error("must be a finite number")
            return self.value
        if isinstance(self.value, dict):
            return {key: node.json(depth - 1) for key, node in self.entries()}
        if isinstance(self.value, list):
            return [node.json(depth - 1) for node in self.items()]
        return self.text(empty=True)

    def _written(self) -> str | None:
        """Return the text if it stands in the document as it is, so that it may be quoted."""
        return self.value if isinstance(self.value, str) and "${" not in self.value else None

    def _not(self, wanted: str, hint: str = "") -> ConfigError:
        if self.value is None and self.path:
            hint = "; leave the key out for its default"
        return self.error(f"must be {wanted}, not {_kind(self.value)}{hint}")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that a mistyped one most likely means; case, ``_`` and ``-`` count for nothing."""
    if len(word) > _MAX_WORD:
        return None
    folded = {_fold(candidate): candidate for candidate in known}
    found = difflib.get_close_matches(_fold(word), folded, n=1)
    return folded[found[0]] if found else None


def step(path: str, key: object) -> str:
    """Return the path of a key in the object at ``path``."""
    text = str(key)
    if not _PLAIN_KEY.fullmatch(text):
        return f"{path}[{json.dumps(text)}]"
    return f"{path}.{text}" if path else text


def _fold(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")


def _suggestion(word: str, known: Iterable[str]) -> str:
    known = list(known)
    near = nearest(word, known)
    return f'; did you mean "{near}"?' if near else f"; there are {_listed(known)}"


def _listed(words: Sequence[str]) -> str:
    shown = ", ".join(f'"{word}"' for word in words[:_LISTED])
    return f"{shown}, and {len(words) - _LISTED} more" if len(words) > _LISTED else shown


def _quote(word: str) -> str:
    return json.dumps(word if len(word) <= _MAX_WORD else f"{word[:_MAX_WORD]}...", ensure_ascii=False)


def _encodable(text: str) -> bool:
    # JSON can spell half a surrogate pair, which no peer and no operating system accepts.
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    kinds: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
    return kinds.get(type(value), f"a {type(value).__name__}")
