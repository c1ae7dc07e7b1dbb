"""`docs/security.md` answers with tests that there are."""

import re

from tests.places import ROOT

PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"(?m)^ *(?:async )?def (test_\w+)", tests))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 100
    assert named <= there, named - there


def test_every_defect_that_was_found_in_metamcp_is_answered() -> None:
    assert re.findall(r"(?m)^\| (B\d+) \|", PAGE) == [f"B{number}" for number in range(1, 36)]
