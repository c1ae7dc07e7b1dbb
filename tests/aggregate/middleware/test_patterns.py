"""Patterns that somebody else wrote are run only when their time is bounded, whatever the text."""

import re
import signal
import warnings
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamcp_asgi.aggregate.middleware.patterns import UNBOUNDED, matches_in_time, work


@pytest.mark.parametrize(
    ("pattern", "ways"),
    [
        ("abc", 1),
        ("", 1),
        ("a?", 2),
        ("a{3}", 1),
        ("a{2,4}b{,2}", 9),
        ("a{}", 1),
        ("a{x}", 1),
        ("[^]a+*{2,}(|)]x", 1),
        (r"[\]+*]\+\*\(\|\{2,}", 1),
        (r"[\]a]+", UNBOUNDED),
        ("a+", UNBOUNDED),
        ("a{2,}?", UNBOUNDED),
        ("a*+b", 1),
        ("(?>a{1,4})b", None),
        ("foo|bar|baz", 3),
        ("(?:a|b|-)+c", UNBOUNDED),
        (r"(?:\.|,){1,3}", 3),
        ("(?P<name>a{1,2})(?=b{1,2})(?!c)(?<=d)(?<!e)", 4),
        ("(?i:a)(?-i:b)(?#c+(+)d{1,3}", 3),
        ("(?i)^a{1,3}$", 3),
        ("a(?#comment)+", UNBOUNDED),
        (r"\x41\u0042\0", 1),
        ("(?:a{3}){2}", None),
        ("(?:ab){1,9}", 9),
    ],
)
def test_how_many_ways_there_are_to_match(pattern: str, ways: int | None) -> None:
    if ways is not None:
        assert work(pattern) == ways
        return
    with pytest.raises(ValueError, match="a repeat within a repeat"):
        work(pattern)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(a+)+$", "a repeat within a repeat"),
        ("(?:a?){9}", "a repeat within a repeat"),
        ("(?>a+b)", "a repeat within a repeat"),
        ("(?:(?=a*)b)+", "a repeat within a repeat"),
        ("(?:a|aa)+$", "an alternative within a repeat"),
        ("(?:a|.)*b", "an alternative within a repeat"),
        ("(?:a|a)*b", "an alternative within a repeat"),
        (r"(?:\d|\w)*b", "an alternative within a repeat"),
        ("(?:[ab]|a)*c", "an alternative within a repeat"),
        ("(?:|a)*c", "an alternative within a repeat"),
        (r"(a)\1", "a backreference"),
        ("(?P<n>a)(?P=n)", "a backreference"),
        ("(a)?(?(1)b|c)", "a backreference"),
        ("(?x) a + # (", "the flag x"),
        ("(?ix:a)", "the flag x"),
        ("[", "is no regular expression"),
        ("a**", "is no regular expression"),
        ("(" * 5000 + ")" * 5000, "is no regular expression"),
    ],
)
def test_what_may_take_for_ever_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        work(pattern)
    assert not matches_in_time(pattern, 10)


_ATOMS = ["a", "b", "ab", "[ab]", ".", r"\w", r"\b", "^", "$", r"\1", "|"]
_GROUPS = ["(", "(?:", "(?=", "(?!", "(?>", ")", ")", ")"]
_TIMES = ["*", "+", "?", "*?", "+?", "++", "{2}", "{1,9}", "{2,}", "{,5}"]
_PARTS = st.sampled_from([*_ATOMS, *_GROUPS, *_TIMES])


def _late(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


@settings(max_examples=300, deadline=None)
@given(st.lists(_PARTS, min_size=1, max_size=10).map("".join), st.sampled_from(["a", "ab", "b"]))
def test_what_is_let_pass_ends(pattern: str, unit: str) -> None:
    text = unit * (120 // len(unit)) + "!"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not matches_in_time(pattern, len(text)):
            return
        before = signal.signal(signal.SIGALRM, _late)
        signal.alarm(20)
        try:
            re.search(pattern, text)
            re.fullmatch(pattern, text)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
