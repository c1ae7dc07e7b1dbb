"""`docs/configuration.md` names every variable with its default."""

import ast
import re
from pathlib import Path

import pytest

import metamcp_asgi
from metamcp_asgi.settings import Settings
from tests.places import ROOT

PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in row.strip("|").split("|")] for row in re.findall(r"(?m)^\| `.*\|$", PAGE)]
DEFAULTS = {name: default for names, default, _ in ROWS for name in re.findall(r"`([A-Z][A-Z_]+)`", names)}

OWN_NAMES = {
    "app_url": "APP_URL",
    "log_level": "LOG_LEVEL",
    "transform_localhost": "TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL",
}
OTHERS = r"(POSTGRES|BOOTSTRAP|DATABASE|OIDC|XDG)_[A-Z_]*[A-Z]"


def shown(value: object) -> str:
    if value in (None, ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


@pytest.mark.parametrize("field", Settings.__struct_fields__)
def test_a_setting_is_there_with_its_default(field: str) -> None:
    assert DEFAULTS.get(OWN_NAMES.get(field, f"METAMCP_{field.upper()}")) == shown(getattr(Settings(), field))


def test_every_variable_that_is_there_is_a_setting() -> None:
    named = {OWN_NAMES.get(field, f"METAMCP_{field.upper()}") for field in Settings.__struct_fields__}
    named |= {"EXTRA_TRUSTED_ORIGINS", "REDIS_URL"}
    assert {name for name in DEFAULTS if not re.fullmatch(OTHERS, name)} == named


def test_every_other_variable_of_the_program_is_there() -> None:
    found = set()
    for path in Path(metamcp_asgi.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(OTHERS, node.value):
                found.add(node.value)
    assert len(found) > 15
    assert found == {name for name in DEFAULTS if re.fullmatch(OTHERS, name)}
