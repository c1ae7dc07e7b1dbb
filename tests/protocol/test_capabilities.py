"""What a client lets servers ask it for: with and without the tasks extension."""

import json

import pytest

from metamcp_asgi.protocol.capabilities import NOTHING, TASKS, read

UI = "io.modelcontextprotocol/ui"


@pytest.mark.parametrize("declared", [{}, {"elicitation": {}}, {"extensions": {UI: {"mimeTypes": ["text/html"]}}}])
def test_the_tasks_extension_is_added_and_taken_away(declared: dict[str, object]) -> None:
    plain = read(json.dumps(declared).encode())
    assert not plain.tasks
    assert plain.following_tasks(False) is plain
    able = plain.following_tasks(True)
    assert able.tasks
    assert able.following_tasks(True) is able
    told = json.loads(able.json())
    assert told == {**declared, "extensions": {**dict(declared.get("extensions", {})), TASKS: {}}}  # type: ignore[call-overload]
    back = able.following_tasks(False)
    assert back == plain
    assert json.loads(back.json()) == declared


def test_nothing_stays_the_one_object() -> None:
    assert NOTHING.following_tasks(True).following_tasks(False) is NOTHING
