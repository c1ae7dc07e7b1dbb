"""What the rooms below say in English, said in the visitor's language: why something was refused, or does not work.

Those texts are the same for the REST API, the command line and the log, and have values in them. So a text of this
catalogue is a pattern, ``must be at least {0}``, which is recognized; a value in it is translated, too, unless it
stands in quotes. What no pattern fits stays as it is. Knows nothing of who says what; a test compares the catalogue
with the code.
"""

import io
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from msgspec import Struct

from metamcp_asgi.pages.i18n import translations

__all__ = ["CATALOGUES", "fits", "patterns", "told"]

CATALOGUES: Final = Path(__file__).parent / "locale" / "reasons"
_VALUE: Final = re.compile(r"\{(\d)\}")
_LONGEST: Final = 2000
"""Characters of a text that is looked at; what is longer has something else in it, such as an answer of a server."""
_DEEPEST: Final = 4
"""Reasons within reasons."""


class _Pattern(Struct, frozen=True):
    """A text of the catalogue: what it looks like, how much of it is fixed, and how it is said."""

    looks: re.Pattern[str]
    quoted: frozenset[str]
    fixed: int
    said: str


def told(language: str, text: str) -> str:
    """Return a text in a language: one that is marked with ``N_``, a reason, or else the text itself."""
    if not text:
        return ""  # which stands for a catalogue's own header
    found = translations(language).gettext(text)
    if found != text or not patterns(language) or len(text) > _LONGEST:
        return found
    return _said(patterns(language), text) or text


@cache
def patterns(language: str) -> Sequence[_Pattern]:
    """Return the patterns of a language, those with the most fixed text first; none for English."""
    path = CATALOGUES / f"{language}.po"
    if not path.is_file():
        return ()
    from babel.messages.pofile import read_po  # is there, or `translations` had said so

    catalogue = read_po(io.BytesIO(path.read_bytes()), locale=language)
    found = [_pattern(str(text.id), str(text.string)) for text in catalogue if text.id]
    return sorted(found, key=lambda pattern: -pattern.fixed)


def fits(language: str, text: str) -> bool:
    """Tell whether there is a pattern for a text in which ``{0}`` and so on stand for values."""
    return any(pattern.looks.fullmatch(text) for pattern in patterns(language) if pattern.fixed > 2)


def _pattern(text: str, said: str) -> _Pattern:
    parts = _VALUE.split(text)
    looks = "".join(f"(?P<v{part}>.+?)" if place % 2 else re.escape(part) for place, part in enumerate(parts))
    quoted = frozenset(parts[at] for at in range(1, len(parts), 2) if parts[at - 1].endswith(('"', "`")))
    return _Pattern(re.compile(looks, re.DOTALL), quoted, sum(map(len, parts[::2])), said)


def _said(known: Sequence[_Pattern], text: str, depth: int = 0) -> str | None:
    """Return a text as it is said; ``None``: no pattern fits."""
    bare = text.removesuffix(".")
    # A sentence is made of a reason by its first letter and a full stop.
    for each in dict.fromkeys((bare, bare[:1].lower() + bare[1:])):
        for pattern in known:
            if (found := pattern.looks.fullmatch(each)) is None:
                continue
            values = {name[1:]: value for name, value in found.groupdict().items()}
            if depth < _DEEPEST:
                inner = {name: _said(known, value, depth + 1) for name, value in values.items()}
                values |= {name: value for name, value in inner.items() if value and name not in pattern.quoted}
            said = _VALUE.sub(lambda place, values=values: values[place[1]], pattern.said)  # type: ignore[misc]
            return said + ("。" if bare != text and not said.endswith("。") else "")
    return None
