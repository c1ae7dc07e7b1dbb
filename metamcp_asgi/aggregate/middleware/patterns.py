"""Which regular expressions can be run on texts that somebody else wrote: those whose time is bounded.

Python's engine backtracks, so a pattern such as ``(a+)+$`` takes for ever on some texts. What is judged here is the
pattern's structure, and the judgement is stricter than it would have to be.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from metamcp_asgi.aggregate.middleware.pattern_tree import Branches, Group, Item, Repeat, parse

__all__ = ["UNBOUNDED", "matches_in_time", "work"]

UNBOUNDED = 1_000_000_000
MOST_STEPS = 20_000_000


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
        branches = parse(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return _work(branches, unbounded, repeated=False)


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


def _work(branches: Branches, unbounded: int, *, repeated: bool) -> int:
    if len(branches) > 1 and not _set(branches):
        if repeated:
            raise ValueError("has an alternative within a repeat, which may take for ever")
        return sum(_sequence(branch, unbounded, repeated=repeated) for branch in branches)
    return _sequence(branches[0], unbounded, repeated=repeated)


def _set(branches: Branches) -> bool:
    """Tell whether alternatives are single characters, of which one excludes the others as in ``[ab]``."""
    literals = {branch[0] for branch in branches if len(branch) == 1 and _literal(branch[0])}
    return len(literals) == len(branches)


def _literal(item: Item) -> bool:
    if not isinstance(item, str):
        return False
    return (len(item) == 1 and item != ".") or (len(item) == 2 and item[0] == "\\" and not item[1].isalnum())


def _sequence(items: Sequence[Item], unbounded: int, *, repeated: bool) -> int:
    ways = 1
    for item in items:
        if isinstance(item, Group):
            ways *= _work(item.branches, unbounded, repeated=repeated or item.atomic)
        elif isinstance(item, Repeat):
            varies = item.most != item.least
            often = item.most is None or item.most > 1
            if repeated and (varies or often):
                raise ValueError("has a repeat within a repeat, which may take for ever")
            ways *= _sequence((item.item,), unbounded, repeated=repeated or often or item.possessive)
            if varies and not item.possessive:
                ways *= unbounded if item.most is None else min(unbounded, item.most - item.least + 1)
    return ways
