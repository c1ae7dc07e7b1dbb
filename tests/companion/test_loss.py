"""What becomes of workers when the companion is not there, dies, or is not what it should be."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from metamcp_asgi import __version__
from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.upstream.companion import link, wire
from metamcp_asgi.upstream.companion.hub import Hub
from metamcp_asgi.upstream.companion.serving import serve_socket
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.server import Updated
from tests.companion.workers import Worker, asking, companion_at, config_of, kill, workers_at
from tests.processes import Program
from tests.stdio import stdio
from tests.upstream.child.children import becomes, exists, vanished
from tests.upstream.connecting import call, text

Workers = Callable[..., Worker]


async def test_the_death_of_the_companion_ends_its_children_and_fails_calls_as_sent(
    companion: Program, workers: Workers, tmp_path: Path
) -> None:
    log = tmp_path / "calls"
    one, other = await workers().ready(stdio(log=log)), await workers().ready(stdio(log=log))
    child = int(text(await one.send(call("pid"))))
    running = asyncio.create_task(one.send(call("slow", until="/nowhere")))
    assert await becomes(lambda: "slow" in log.read_text())
    kill(companion)
    with pytest.raises(UpstreamUnavailable) as raised:
        await running
    assert str(raised.value) == "Server 's' was lost with the companion metamcp-stdio, which has closed the connection"
    assert raised.value.sent
    for server in (one, other):
        await server.heard.wait("lost")
        assert server.state == "failed"
        assert server.error == "was lost with the companion metamcp-stdio, which has closed the connection"
    assert await vanished(child)


async def test_a_new_companion_is_found_and_all_goes_on(path: Path) -> None:
    async with workers_at(path) as workers:
        with companion_at(path) as first:
            one, other = await workers().ready(stdio()), await workers().ready(stdio())
            child = int(text(await one.send(call("pid"))))
            kill(first)
            await one.heard.wait("lost")
            await other.heard.wait("lost")
        with companion_at(path):
            await one.heard.wait("ready", 2)
            await other.heard.wait("ready", 2)
            assert (one.state, one.error) == ("ready", "")
            told = [text(await server.send(call("pid"))) for server in (one, other)]
            assert told[0] == told[1] != str(child)


async def test_what_was_watched_is_watched_at_the_new_companion(path: Path) -> None:
    uri = "x://doc"
    async with workers_at(path) as workers:
        with companion_at(path) as first:
            server = await workers().ready(asking("modern"))
            assert await server.subscribe(uri) is None
            kill(first)
            await server.heard.wait("lost")
        with companion_at(path):
            # What happened in between is not known, so something may have.
            await server.heard.wait(Updated(uri))
            await server.send(call("touch", uri=uri))
            await server.heard.wait(Updated(uri), 2)


async def test_without_a_companion_servers_say_so_and_come_when_it_does(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with workers_at(path) as workers:
        worker = workers()
        server = worker.start(stdio())
        await server.settled()
        reason = "cannot run: the companion metamcp-stdio is not running (METAMCP_STDIO_SOCKET)"
        assert (server.state, server.error) == ("failed", reason)
        assert str(path) in caplog.text, "the operator is told the place, and remote clients are not"
        with pytest.raises(UpstreamUnavailable) as raised:
            await server.send(call("echo"))
        assert str(raised.value) == f"Server 's' {reason}"
        assert not raised.value.sent
        late = worker.start(stdio(), "late")
        await late.heard.wait("lost")
        with companion_at(path):
            await server.heard.wait("ready")
            await late.heard.wait("ready")
            assert text(await late.send(call("echo"))) == "{}"


async def test_a_request_waits_for_the_companion_that_is_about_to_come(path: Path) -> None:
    async with workers_at(path) as workers:
        with companion_at(path) as first:
            server = await workers().ready(stdio())
            kill(first)
            await server.heard.wait("lost")
        with companion_at(path):
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(UpstreamUnavailable):
                        assert text(await server.send(call("echo"))) == "{}"
                        break


class Listener:
    """Listens in the place of a companion, and says what it is told to."""

    def __init__(self, says: bytes) -> None:
        self.says = says

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.says)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()


@contextlib.asynccontextmanager
async def listening(path: Path, says: bytes) -> AsyncIterator[None]:
    async with await asyncio.start_unix_server(Listener(says), str(path)):
        yield


def frame(content: object) -> bytes:
    data = msgspec.msgpack.encode(content)
    return struct.pack(">I", len(data)) + data


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (frame(["metamcp-stdio", "0.0.1"]), f"is version 0.0.1, and we are {__version__}; restart what is older"),
        (frame(["somebody", "else"]), "sent something that is no frame: it is somebody else's"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "sent something that is no frame"),
        (frame({"a": 1}), "sent something that is no frame: Expected `array`, got `object`"),
    ],
    ids=["version", "name", "http", "frame"],
)
async def test_what_is_no_companion_of_ours_is_told_apart(path: Path, says: bytes, reason: str) -> None:
    async with listening(path, says), workers_at(path) as workers:
        server = workers().start(stdio())
        await server.heard.wait("lost")
        assert server.error == f"cannot run: the companion metamcp-stdio {reason}"


async def test_frames_that_mean_nothing_end_the_connection_and_it_is_made_anew(path: Path) -> None:
    async with listening(path, frame(["metamcp-stdio", __version__]) + frame(["?"])), workers_at(path) as workers:
        server = workers().start(stdio())
        await server.heard.wait("lost", 2)
        assert "which sent something that is no frame" in server.error


async def test_a_companion_survives_workers_that_talk_nonsense(
    companion: Program, path: Path, workers: Workers
) -> None:
    hello = frame(["metamcp-stdio", __version__])
    for says in (b"\xff" * 64, frame([1]), hello + b"\0\0\0\x01\xc1", hello + frame([99, 1]), hello[:7]):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(says)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
    assert text(await (await workers().ready(stdio())).send(call("echo"))) == "{}"


async def test_a_worker_of_another_version_is_sent_away(companion: Program, path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(frame(["metamcp-stdio", "0.0.1"]))
    assert await reader.read() == frame(["metamcp-stdio", __version__])
    writer.close()
    companion.wait_for_line(r"A worker is version 0\.0\.1")


async def test_many_large_answers_at_once_wait_for_a_worker_that_reads_late(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "MAX_WAITING", 1024 * 1024)
    log = tmp_path / "calls"
    large = {name: name * 100_000 for name in "ABC"}
    async with serve_socket(path, Hub(Runtime(), idle_seconds=300)):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(frame(["metamcp-stdio", __version__]))
        writer.write(frame(wire.Use(1, config_of({**stdio(log=log), "env": large}))))
        for number in range(20):
            writer.write(frame(wire.Send(number, 1, wire.asked(call("environ")), None)))
        # The server takes one call after the other, so by then all answers but the last have come.
        assert await becomes(lambda: log.exists() and len(log.read_text().split()) == 20)
        done: list[int] = []
        async with asyncio.timeout(30):
            await reader.readexactly(struct.unpack(">I", await reader.readexactly(4))[0])
            while len(done) < 20:
                told = wire.to_worker.decode(
                    await reader.readexactly(struct.unpack(">I", await reader.readexactly(4))[0])
                )
                if isinstance(told, wire.Done):
                    assert isinstance(told.end, wire.Returned)
                    done.append(told.call)
        assert sorted(done) == list(range(20))
        writer.close()


async def test_a_killed_companion_leaves_nothing_that_keeps_the_next_one_from_starting(path: Path) -> None:
    with companion_at(path) as first:
        kill(first)
        with companion_at(path) as second:
            assert exists(second.pid)
