"""Messages to and from a child: one line each, whatever the pipe does to them (T-90)."""

import asyncio

import pytest

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.upstream.pipes import MAX_BUFFERED_BYTES, LineReader
from tests.upstream.child.children import ECHO, Spawner


async def test_a_thousand_pipelined_messages_come_back_in_order(spawner: Spawner) -> None:
    echo = await spawner.python(ECHO)
    sent = [b'{"id":%d}' % number for number in range(1000)]
    for line in sent:
        echo.child.write(line)
    assert [await echo.said() for _ in sent] == sent


async def test_a_large_message_survives_both_ways(spawner: Spawner) -> None:
    echo = await spawner.python(ECHO)
    large = b'"%s"' % (b"abcdefghij" * 524_288)
    echo.child.write(large)
    await echo.child.drain()
    echo.child.write(b"1")
    assert await echo.said() == large
    assert await echo.said() == b"1"


@pytest.mark.parametrize("size", range(1, 33))
def test_messages_are_cut_at_line_ends_wherever_the_pipe_cuts(size: int) -> None:
    """Split, merged, with CRLF (itself split), with empty lines, and without an end."""
    said: list[bytes] = []
    reader = LineReader(said.append, lambda: None, lambda: None, 100)
    stream = b'{"a":1}\n{"b":2}\r\n\n\r\n{"c":3}\r\n"x\ry"\n{"never ended"'
    for start in range(0, len(stream), size):
        reader.data_received(stream[start : start + size])
    assert said == [b'{"a":1}', b'{"b":2}', b'{"c":3}', b'"x\ry"']


async def test_a_message_without_an_end_is_no_message(spawner: Spawner) -> None:
    speaker = await spawner.python("import os; os.write(1, b'1\\n\\r\\n2\\r\\n3')")
    await speaker.exit_reason()
    assert [speaker.messages.get_nowait() for _ in range(speaker.messages.qsize())] == [b"1", b"2"]


async def test_layout_inside_a_message_does_not_cut_it(spawner: Spawner) -> None:
    echo = await spawner.python(ECHO)
    echo.child.write(b'{\r\n "a": 1\n}')
    assert await echo.said() == b'{   "a": 1 }'


async def test_a_message_over_the_limit_ends_the_child(spawner: Spawner) -> None:
    source = 'import os, time; os.write(1, b"1234567890\\n%s"); time.sleep(60)'
    for rest in ("x" * 11, "x" * 11 + "\\nafter\\n", "x" * 200_000):
        speaker = await spawner.python(source % rest, max_message_bytes=10)
        assert await speaker.exit_reason() == "was killed: it sent a message of more than 10 bytes"
        assert speaker.messages.get_nowait() == b"1234567890"
        assert speaker.messages.empty()
        with pytest.raises(UpstreamUnavailable, match="more than 10 bytes"):
            speaker.child.write(b"1")


async def test_a_child_that_does_not_read_cannot_fill_our_memory(spawner: Spawner) -> None:
    deaf = await spawner.python("import time; print(1, flush=True); time.sleep(60)")
    await deaf.said()
    megabyte = b"x" * 1_048_576
    for _ in range(MAX_BUFFERED_BYTES // len(megabyte)):
        deaf.child.write(megabyte)
    with pytest.raises(UpstreamUnavailable, match="does not read its input") as failure:
        deaf.child.write(megabyte)
    assert not failure.value.sent
    waiting = asyncio.create_task(deaf.child.drain())
    await asyncio.sleep(0)
    assert not waiting.done()
    await deaf.child.stop(0.05)
    await asyncio.wait_for(waiting, 30)
    assert deaf.exits == ["killed by SIGTERM"]


async def test_drain_waits_for_a_slow_child_and_no_longer(spawner: Spawner) -> None:
    slow = await spawner.python(
        """
        import sys
        print("ready", flush=True)
        sys.stdin.buffer.read(1)
        print(1 + len(sys.stdin.buffer.read()), flush=True)
        """
    )
    await slow.said()
    total = 0
    for _ in range(64):
        slow.child.write(b"x" * 99_999)
        total += 100_000
        await asyncio.wait_for(slow.child.drain(), 30)
        # Drained means: no more is kept for the child than asyncio's high-water mark.
        assert slow.child._input._buffered <= 65_536
    await slow.child.stop()
    assert await slow.said() == str(total).encode()
    assert slow.exits == ["exited with code 0"]


async def test_what_was_written_before_stop_is_delivered(spawner: Spawner) -> None:
    echo = await spawner.python(ECHO)
    echo.child.write(b"last words")
    await echo.child.stop()
    assert await echo.said() == b"last words"
    with pytest.raises(UpstreamUnavailable):
        echo.child.write(b"too late")


async def test_the_output_is_read_to_the_end_before_the_exit_is_reported(spawner: Spawner) -> None:
    speaker = await spawner.python('import os\nfor n in range(5000): os.write(1, b"%d\\n" % n)\nos._exit(3)')
    assert await speaker.exit_reason() == "exited with code 3"
    assert speaker.messages.qsize() == 5000
