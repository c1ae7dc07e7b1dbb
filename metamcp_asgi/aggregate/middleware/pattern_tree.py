"""What a regular expression is made of, as far as it decides how long it may take: repeats, alternatives, groups.

Reads patterns that ``re`` has accepted, in the syntax of its documentation; what it can't judge it refuses. Python's
own parsed form has no public name.
"""

import re
from typing import Final, TypeAlias

from msgspec import Struct

__all__ = ["Branches", "Group", "Item", "Repeat", "parse"]


class Repeat(Struct, frozen=True):
    """Something that may be there ``least`` to ``most`` times; ``most`` of ``None`` has no end."""

    least: int
    most: int | None
    item: "Item"
    possessive: bool


class Group(Struct, frozen=True):
    """A group of any kind, an assertion, too; of an ``atomic`` one no second way is tried."""

    branches: "Branches"
    atomic: bool


Item: TypeAlias = "Repeat | Group | str"
"""A text is one character, or a set of which one is there; the empty one is a place, such as ``^``."""
Branches: TypeAlias = "tuple[tuple[Item, ...], ...]"

_QUANTIFIER: Final = re.compile(r"(?:([*+?])|\{(?!\})([0-9]*)(?:(,)([0-9]*))?\})([?+]?)")
_SET: Final = re.compile(r"\[\^?\]?(?:\\.|[^\\\]])*\]", re.DOTALL)
_COMMENT: Final = re.compile(r"\(\?#[^)]*\)")
_OPENING: Final = re.compile(r"\((?:\?(?:P<\w+>|<?[=!]|[>:]|([A-Za-z]*)(?:-[A-Za-z]+)?[:)]))?")
_PLACES: Final = frozenset((r"\A", r"\b", r"\B", r"\Z", r"\z", "^", "$"))
_TIMES: Final = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def parse(pattern: str) -> Branches:
    """Return a pattern's alternatives.

    Args:
        pattern: What ``re.compile`` has accepted.

    Raises:
        ValueError: It has something whose time cannot be told: a backreference, a condition, or the flag ``x``.
        RecursionError: It is nested too deeply.
    """
    branches, _ = _branches(pattern, 0)
    return branches


def _branches(pattern: str, at: int) -> tuple[Branches, int]:
    """Return the alternatives up to the end of their group, and where that is."""
    branches: list[list[Item]] = [[]]
    while at < len(pattern) and pattern[at] != ")":
        if pattern[at] == "|":
            branches.append([])
            at += 1
        elif comment := _COMMENT.match(pattern, at):
            at = comment.end()
        elif branches[-1] and (found := _QUANTIFIER.match(pattern, at)):
            branches[-1][-1] = _repeat(found, branches[-1][-1])
            at = found.end()
        else:
            item, at = _item(pattern, at)
            branches[-1].append(item)
    return tuple(map(tuple, branches)), at


def _repeat(found: re.Match[str], item: Item) -> Repeat:
    sign, least, comma, most, manner = found.groups()
    if sign:
        low, high = _TIMES[sign]
    else:
        low = int(least or 0)
        high = low if not comma else int(most) if most else None
    return Repeat(low, high, item, manner == "+")


def _item(pattern: str, at: int) -> tuple[Item, int]:
    character = pattern[at]
    if character == "(":
        return _group(pattern, at)
    if character == "[" and (found := _SET.match(pattern, at)):
        return found[0], found.end()
    text = pattern[at : at + 2] if character == "\\" else character
    if character == "\\" and text[1:] in tuple("123456789"):
        raise ValueError("has a backreference, whose time cannot be bounded")
    return "" if text in _PLACES else text, at + len(text)


def _group(pattern: str, at: int) -> tuple[Item, int]:
    found = _OPENING.match(pattern, at)
    if found is None or (found[0] == "(" and pattern.startswith("(?", at)):
        raise ValueError("has a backreference, whose time cannot be bounded")
    if "x" in (found[1] or ""):
        raise ValueError("has the flag x, with which its time cannot be told; write it without")
    if found[0].endswith(")"):  # flags for the whole pattern
        return "", found.end()
    branches, end = _branches(pattern, found.end())
    return Group(branches, atomic=found[0] == "(?>"), end + 1
