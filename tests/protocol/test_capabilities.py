"""What a client lets servers ask it for: with and without the tasks extension."""

import json

import pytest

from metamcp_asgi.protocol import capabilities
from metamcp_asgi.protocol.capabilities import MAX_EXTENSION, NOTHING, TASKS, read

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


def test_settings_of_an_extension_that_are_too_large_are_left_out() -> None:
    large = {"mimeTypes": ["x" * MAX_EXTENSION]}
    assert json.loads(read(json.dumps({"extensions": {UI: large, TASKS: {}}}).encode()).json()) == {
        "extensions": {TASKS: {}}
    }
    assert read(json.dumps({"extensions": {UI: large}}).encode()) is NOTHING


def test_long_declarations_are_read_each_time_and_take_no_memory() -> None:
    before = capabilities._read.cache_info().currsize, capabilities._json.cache_info().currsize
    settings = {"mimeTypes": ["x" * 400]}
    declared = json.dumps({"extensions": {UI: settings, TASKS: settings}, "roots": {}}).encode()
    for _ in range(2):
        assert json.loads(read(declared).json()) == json.loads(declared)
    assert before == (capabilities._read.cache_info().currsize, capabilities._json.cache_info().currsize)
