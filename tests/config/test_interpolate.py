"""Variables inside texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metamcp_asgi.config.interpolate import interpolate

ENVIRON = {"A": "1", "EMPTY": "", "NESTED": "${A}", "_x9": "y"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", ""),
        ("no $A, no $$", "no $A, no $$"),
        ("${A}", "1"),
        ("a-${A}-${_x9}${A}", "a-1-y1"),
        ("${EMPTY}", ""),
        ("${EMPTY:-d}", "d"),
        ("${UNSET:-}", ""),
        ("${UNSET:-a:-b $c}", "a:-b $c"),
        ("${A:-d}", "1"),
        ("${NESTED}", "${A}"),
        ("$${A}", "${A}"),
        ("$$${A}", "$${A}"),
        ("$${", "${"),
        ("{${A}}", "{1}"),
    ],
)
def test_a_text(text: str, result: str) -> None:
    assert interpolate(text, ENVIRON) == result


@pytest.mark.parametrize("text", ["${", "x${A", "${}", "${ A}", "${A-b}", "${1}", "${env:A}", "${A:-${B}}", "${a\n}"])
def test_what_begins_no_reference_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"begins no"):
        interpolate(text, ENVIRON)


def test_an_unset_variable_is_named() -> None:
    with pytest.raises(ValueError, match="UNSET is not set"):
        interpolate("secret ${UNSET}", ENVIRON)


@given(st.text())
def test_an_escaped_text_comes_out_as_it_was(text: str) -> None:
    assert interpolate(text.replace("${", "$${"), {}) == text or "$${" in text
