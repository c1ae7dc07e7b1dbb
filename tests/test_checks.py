"""The numbered acceptance checks: each has a test that bears its number, or its reason here.

A test bears the numbers that its name begins with: `test_check_62_...`, `test_check_55_56_...`, `test_55_56_...`.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.places import ROOT

CHECKS = range(1, 105)

ELSEWHERE = {
    88: "OAuth",
    89: "OAuth",
    90: "OAuth",
    93: "OAuth",
    94: "OAuth",
    95: "OAuth",
    98: "tests/workers/test_checks.py and test_lab_checks.py run the tests of other checks over two processes",
    104: "tests/conformance",
}
"""Checks that no test bears by name, and why; what is not there yet is part of a later feature."""


def numbers(name: str) -> Iterator[int]:
    """Yields the checks that a test shows."""
    found = re.match(r"test_(?:check_)?((?:\d{1,3}_)+)", name)
    if found is not None:
        yield from (int(number) for number in found[1].split("_") if number)


def shown() -> dict[int, list[str]]:
    """Returns the tests of each check."""
    tests: dict[int, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for number in numbers(node.name):
                    tests[number].append(f"{path.relative_to(ROOT)}::{node.name}")
    return tests


def test_every_check_is_shown_by_a_test_or_has_a_reason_why_not() -> None:
    tests = shown()
    assert [number for number in CHECKS if number not in tests and number not in ELSEWHERE] == []


def test_no_reason_is_out_of_date_and_no_number_is_made_up() -> None:
    tests = shown()
    assert {number: tests[number] for number in ELSEWHERE if number in tests} == {}
    assert [number for number in tests if number not in CHECKS] == []
    for reason in ELSEWHERE.values():
        for place in re.findall(r"tests/\S+", reason):
            assert (Path(ROOT) / place).exists()
