"""The numbered acceptance checks of eras.md 4: each has a test that bears its number, or its reason here.

A test bears the numbers that its name begins with: `test_check_62_...`, `test_check_55_56_...`. It runs over two
processes when it uses the laboratory (tests/lab), or when its module, or one that collects it again, starts workers.
"""

import ast
import contextlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.lab import running as lab
from tests.places import ROOT

CHECKS = range(1, 105)

WORKERS = "tests.workers.running"
ELSEWHERE = {
    104: "tests/conformance",
}
"""Checks that no test bears by name, and where they are shown."""


TWO_PROCESSES = {
    "um us ul ux ud": [
        *(
            18,
            28,
            29,
            30,
            32,
            34,
            43,
            45,
            46,
            50,
            51,
            55,
            56,
            57,
            58,
            59,
            60,
            61,
            63,
            64,
            65,
            66,
            67,
            70,
            71,
            72,
            73,
            78,
            79,
            82,
        ),
    ],
    "um us ul ud": [39, 47],
    "um ul ux ud": [41, 77, 98],
    "um ul ux": [40, 91],
    "um us ul": [74, 75],
    "um us": [76, 84, 87, 100],
    "ul ux ud": [54],
    "ul ud": [69],
    "ul ux": [62],
    "um": [2, 9, 27, 33, 49, 101],
    "ul": [99],
    "": [
        *(1, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23, 24, 25, 26, 31, 35, 36, 37, 38, 42),
        *(44, 48, 52, 53, 68, 80, 81, 83, 85, 86, 92, 96, 97, 102),
    ],
}
"""The checks that are shown over two processes, by the kinds of real servers that they are at least shown with: `um`
modern HTTP, `us` modern stdio, `ul` legacy Streamable HTTP, `ux` HTTP+SSE, `ud` legacy stdio. The last are about the
gateway alone, or about what no server of an SDK does."""

ONE_PROCESS = {
    **dict.fromkeys((88, 89, 90, 94, 95), "tests/oauth, with one gateway"),
    93: "tests/grants, with one gateway; over many servers in tests/conformance/test_oauth_client_scenarios.py",
    103: "tests/gateway/test_nodes.py, with one gateway for each node",
}
"""The checks that are shown with gateways of one process each, and how."""


@dataclass(frozen=True, slots=True)
class Test:
    """A test, whether it runs over two processes, and the kinds of real servers that it names."""

    where: str
    two: bool
    kinds: frozenset[str]


def numbers(name: str) -> Iterator[int]:
    """Yields the checks that a test shows."""
    found = re.match(r"test_(?:check_)?((?:\d{1,3}_)+)", name)
    if found is not None:
        yield from (int(number) for number in found[1].split("_") if number)


@cache
def shown() -> dict[int, list[Test]]:
    """Returns the tests of each check."""
    tests: dict[int, list[Test]] = defaultdict(list)
    sources = {path: path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py"))}
    again = {name for source in sources.values() if WORKERS in source for name in imported(source)}
    for path, source in sources.items():
        if not re.search(r"def test_(?:check_)?\d", source):
            continue
        tree = ast.parse(source)
        functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        for function in functions.values():
            for number in numbers(function.name):
                two = WORKERS in source or function.name in again or uses_lab(function, functions)
                where = f"{path.relative_to(ROOT)}::{function.name}"
                tests[number].append(Test(where, two, kinds(function, source, tree)))
    return tests


def imported(source: str) -> Iterator[str]:
    """Yields the names that a module imports from others."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


Function = ast.FunctionDef | ast.AsyncFunctionDef


def uses_lab(function: Function, fixtures: dict[str, Function]) -> bool:
    """Tells whether a test or a fixture is given the laboratory."""
    names = {argument.arg for argument in function.args.args}
    return "lab" in names or any(uses_lab(fixtures[name], fixtures) for name in names & fixtures.keys())


def kinds(function: Function, source: str, tree: ast.Module) -> frozenset[str]:
    """Returns the laboratory's servers that a test names, one by one or by a constant that has several."""
    constants = {name: value for name, value in vars(lab).items() if name.isupper() and isinstance(value, tuple)}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Tuple):
            with contextlib.suppress(ValueError):
                constants[node.targets[0].id] = ast.literal_eval(node.value)
    first = min(node.lineno for node in (function, *function.decorator_list))
    text = "\n".join(source.splitlines()[first - 1 : function.end_lineno])
    found = set(re.findall(r"""["'](u[msxld])(?:__|://|["'])""", text))
    for name in re.findall(r"\b[A-Z][A-Z_]+\b", text):
        found |= set(constants.get(name, ())) & set(lab.KINDS)
    return frozenset(found)


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


def test_what_is_said_of_each_check_is_so() -> None:
    said = {number: set(names.split()) for names, checks in TWO_PROCESSES.items() for number in checks}
    for number, tests in shown().items():
        named = set().union(*(test.kinds for test in tests if test.two))
        if number in said:
            assert any(test.two for test in tests), f"{number} is shown with one process"
            assert said[number] <= named, f"{number} is shown with {named or 'no real server'}"
    told = [*said, *ONE_PROCESS, *ELSEWHERE]
    assert sorted(told) == list(CHECKS), "each check has one place here"
