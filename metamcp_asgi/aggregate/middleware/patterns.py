"""Which regular expressions can be run on texts that somebody else wrote: those whose time is bounded.

Python's engine backtracks, so a pattern such as ``(a+)+$`` takes for ever on some texts. What is judged here is the
parsed pattern, and the judgement is stricter than it would have to be.
"""

import re
from functools import lru_cache
from re import _constants, _parser  # type: ignore[attr-defined]  # the parsed form has no public name
from typing import Any

__all__ = ["UNBOUNDED", "matches_in_time", "work"]

UNBOUNDED = 1_000_000_000
MOST_STEPS = 20_000_000
_REPEATS = (_constants.MAX_REPEAT, _constants.MIN_REPEAT)


def work(pattern: str, unbounded: int = UNBOUNDED) -> int:
    """Return about how many ways there are to match a pattern at one place of a text.

    Args:
        pattern: The pattern.
        unbounded: What a repeat without an end counts for.

    Raises:
        ValueError: It is no regular expression, or one whose time grows beyond bounds: a repeat or an alternative
            within a repeat, or a backreference.
    """
    try:
        re.compile(pattern)
        parsed = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return _work(parsed, unbounded, repeated=False)


def matches_in_time(pattern: str, length: int) -> bool:
    """Tell whether a pattern may be searched for in a text of so many characters."""
    return _in_time(pattern, length.bit_length())


@lru_cache(4096)
def _in_time(pattern: str, bits: int) -> bool:
    length = 1 << bits
    try:
        return bool(work(pattern, length) * length <= MOST_STEPS)
    except ValueError:
        return False


def _work(parsed: Any, unbounded: int, *, repeated: bool) -> int:
    ways = 1
    for operation, argument in parsed:
        if operation in _REPEATS:
            least, most, inner = argument
            varies = most != least
            if repeated and (varies or most > 1):
                raise ValueError("has a repeat within a repeat, which may take for ever")
            ways *= _work(inner, unbounded, repeated=repeated or most > 1)
            if varies:
                ways *= unbounded if most is _constants.MAXREPEAT else min(unbounded, most - least + 1)
        elif operation is _constants.SUBPATTERN:
            ways *= _work(argument[3], unbounded, repeated=repeated)
        elif operation is _constants.BRANCH:
            if repeated:
                raise ValueError("has an alternative within a repeat, which may take for ever")
            ways *= sum(_work(branch, unbounded, repeated=repeated) for branch in argument[1])
        elif operation in (_constants.ASSERT, _constants.ASSERT_NOT):
            ways *= _work(argument[1], unbounded, repeated=repeated)
        elif operation in (_constants.GROUPREF, _constants.GROUPREF_EXISTS):
            raise ValueError("has a backreference, whose time cannot be bounded")
        elif operation in (_constants.ATOMIC_GROUP, _constants.POSSESSIVE_REPEAT):
            inner = argument if operation is _constants.ATOMIC_GROUP else argument[2]
            ways *= _work(inner, unbounded, repeated=True)
    return ways
