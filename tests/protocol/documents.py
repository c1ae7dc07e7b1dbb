"""JSON texts as peers may spell them, and what the standard library reads in them."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

_NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
_ESCAPES = st.sampled_from(
    [r"\n", r"\"", r"\\", r"\/", r"\u0041", r"\u00e9", r"\uD83D\uDE00", r"\\ud83d", "é", "😀", "{", "[", "]", "a"]
)
_STRINGS = st.lists(_ESCAPES, max_size=6).map(lambda parts: f'"{"".join(parts)}"')
_SPACE = st.sampled_from(["", "", "", " ", "\n", "\r\n", "\t"])


def _array(items: list[str], space: str) -> str:
    return f"[{space}{f',{space}'.join(items)}{space}]"


def _object(items: list[str], space: str) -> str:
    members = (f'"{number}{space!r}"{space}:{space}{item}' for number, item in enumerate(items))
    return f"{{{space}{f'{space},'.join(members)}}}"


RAW: st.SearchStrategy[str] = st.recursive(
    _NUMBERS | _STRINGS | st.sampled_from(["null", "true", "false"]),
    lambda inner: (
        st.builds(_array, st.lists(inner, max_size=4), _SPACE) | st.builds(_object, st.lists(inner, max_size=4), _SPACE)
    ),
    max_leaves=10,
)
"""JSON values in spellings that a decoder and an encoder would not keep."""


class DuplicateMember(Exception):
    """An object names a member twice."""


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise DuplicateMember
    return dict(pairs)


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def read(body: bytes, number: Callable[[str], Any] = str) -> Any:
    """Returns what a strict reader sees; numbers as they are spelled.

    Raises:
        ValueError: it is not JSON.
        DuplicateMember: it is, but ambiguous.
    """
    value = json.loads(
        body.decode(), parse_constant=_refuse, parse_int=number, parse_float=number, object_pairs_hook=_members
    )
    # Half a surrogate pair is a string that no UTF-8 can carry.
    json.dumps(value, ensure_ascii=False, default=bytes.decode).encode()
    return value


def depth(value: Any) -> int:
    """Returns how deep arrays and objects are nested in a value."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0
