"""Which bus the settings lead to."""

import subprocess
import sys

import pytest

from metamcp_asgi.bus.memory import MAX_FACTS, MemoryBus
from metamcp_asgi.bus.open import open_bus
from metamcp_asgi.bus.protocol import BusUnavailable
from metamcp_asgi.errors import ConfigError


def test_without_redis_a_process_is_alone() -> None:
    bus = open_bus(None, "metamcp")
    assert bus.alone
    assert bus.take is None


def test_with_redis_it_is_not() -> None:
    bus = open_bus("redis://127.0.0.1:1/0", "metamcp")
    assert not bus.alone
    assert bus.take is not None


@pytest.mark.parametrize(
    "url",
    [
        "redis://host:port/0",
        "http://host",
        "redis://:secret@host:6379/0?socket_timeout=secret",
        "redis+sentinel://:secret@host:26379",
        "redis+sentinel://:secret@host:port/main",
        "redis+sentinel://:secret@/main",
    ],
)
def test_a_wrong_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_bus(url, "metamcp")
    assert caught.value.path == "METAMCP_REDIS_URL"
    assert "secret" not in str(caught.value)
    assert "rediss://" in str(caught.value)


def test_without_redis_py_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["redis"] = None
from metamcp_asgi.bus.open import open_bus
open_bus(None, "metamcp")
try:
    open_bus("redis://host", "metamcp")
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("ConfigError")
    assert "metamcp-asgi[redis]" in done.stdout


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_the_facts_of_one_process_are_bounded_and_never_end_early() -> None:
    clock = Clock()
    bus = MemoryBus(clock)
    assert await bus.claim("mine", 100)
    for number in range(MAX_FACTS - 1):
        await bus.put(str(number), b"", 10)
    with pytest.raises(BusUnavailable, match=str(MAX_FACTS)):
        await bus.put("one more", b"", 10)
    await bus.put("0", b"again", 20)  # takes no place of its own
    clock.now = 15
    await bus.put("one more", b"", 10)
    assert (await bus.get("0"), await bus.get("1")) == (b"again", None)
    assert not await bus.claim("mine", 100)
    clock.now = 101
    assert await bus.claim("mine", 100)
