"""What the rooms below the pages say is wrong is said in the visitor's language, whoever can have it said in a form."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from metamcp_asgi.pages.i18n import PACKAGE
from metamcp_asgi.pages.reasons import fits, told

REACHED = (
    "store/policy.py",
    "store/limits.py",
    "store/passwords.py",
    "store/services/*.py",
    *(
        f"config/{name}.py"
        for name in ("access", "file", "foreign*", "grants", "middlewares", "node", "oauth", "private_keys", "sandbox")
    ),
    "config/servers.py",
    "registry/ways.py",
    *(f"admin/api/{name}.py" for name in ("imports", "operation", "problem", "registry", "servers", "tool_preview")),
    "admin/pages/servers/form.py",
)
"""The modules that judge what is in a form."""
REASON = {"Invalid": 1, "Forbidden": 1, "Problem": 1, "Fault": 0, "ConfigError": 0, "error": 0, "ValueError": 0}
REASON |= {"check_reach": 2, "note": 1, "_without": 1, "WrongAnswer": 1, "_refused": 1, "_json": 3, "_not": 0}
"""Which argument of a call is a reason."""


def said(node: ast.expr) -> Iterator[str]:
    """Yields the texts that an expression can be, with {0} and so on for what is put in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from said(node.body)
        yield from said(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        text, number = "", 0
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            elif not text.endswith("}"):  # two values side by side are one
                text += f"{{{number}}}"
                number += 1
        yield text


def reasons(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == "reason" for to in node.targets):
            yield from said(node.value)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            place = REASON.get(called)
            if place is not None and len(node.args) > place:
                yield from said(node.args[place])


@pytest.mark.parametrize("pattern", REACHED)
def test_every_reason_that_a_form_can_be_refused_for_is_there_in_chinese(pattern: str) -> None:
    missing = [
        f"{path.relative_to(PACKAGE)}: {text}"
        for path in sorted(PACKAGE.glob(pattern))
        for text in reasons(path)
        if re.search("[a-z]", re.sub(r"^\w+: ", "", text)) and not fits("zh", re.sub(r"^\w+: |\.$", "", text))
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    ("text", "chinese"),
    [
        ("must be at least 1", "至少为 1"),
        ("Must be at least 1.", "至少为 1。"),
        ('2: must have at least 3 characters; did you mean "x"?', "2：至少须有 3 个字符；是否想写“x”？"),
        # What stands in quotes is somebody's name, whatever it is.
        (
            'Server "server": what is public is made of public things only.',
            "服务器“server”：公共内容只能由公共内容组成。",
        ),
        ("Sprockets are not for sale.", "Sprockets are not for sale."),
        ("x" * 100_000, "x" * 100_000),
        ("", ""),
    ],
)
def test_a_reason_is_said_with_its_values(text: str, chinese: str) -> None:
    assert told("zh", text) == chinese
    assert told("en", text) == text
