"""What a process of a gateway sees when another, or Redis, fails: kill -9, a stop, a restart, a loss of data."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trustme

from metamcp_asgi.bus import redis as redis_bus
from metamcp_asgi.bus import redis_work
from metamcp_asgi.bus.protocol import BusUnavailable, CallFailed, OwnerLost
from metamcp_asgi.bus.redis import RedisBus
from tests.places import ROOT
from tests.processes import Program, free_port, running
from tests.redis import Redis

Owner = tuple[Program, str]


@contextlib.contextmanager
def owner_process(server: Redis, prefix: str) -> Iterator[Owner]:
    command = [sys.executable, "-m", "tests.bus.owner", server.url, prefix]
    with running(command, r"^owner (\S+)", cwd=ROOT) as (program, ready):
        yield program, ready[1]


@pytest.fixture
def owner(redis: Redis, prefix: str) -> Iterator[Owner]:
    with owner_process(redis, prefix) as running_owner:
        yield running_owner


@pytest.fixture
async def bus(redis: Redis, prefix: str) -> AsyncIterator[RedisBus]:
    opened = RedisBus(redis.url, prefix)
    await opened.start()
    yield opened
    await opened.aclose()


async def echo(bus: RedisBus, owner: str, text: bytes = b"x") -> bytes:
    async with contextlib.aclosing(bus.call(owner, "echo", text)) as answer:
        return b"".join([frame async for frame in answer])


async def until(work: Callable[[], Awaitable[object]], *errors: type[Exception]) -> None:
    """Repeats work until it no longer fails, or half a minute is over."""
    async with asyncio.timeout(30):
        while True:
            try:
                await work()
                return
            except errors:
                await asyncio.sleep(0.05)


async def line(program: Program, pattern: str) -> str:
    return (await asyncio.to_thread(program.wait_for_line, pattern))[0]


def test_a_death_is_known_within_five_seconds() -> None:
    assert redis_bus.SILENCE + redis_bus.BEAT < 5
    assert redis_bus.ALIVE < 5
    assert redis_bus.LEASE > redis_bus.SILENCE + redis_bus.BEAT


async def test_a_killed_owner_is_lost_to_who_waits_and_to_who_comes(bus: RedisBus, owner: Owner) -> None:
    program, name = owner
    async with asyncio.timeout(30), contextlib.aclosing(bus.call(name, "hold", b"")) as answer:
        assert await anext(answer) == b"held"
        program.signal(signal.SIGKILL)
        with pytest.raises(OwnerLost):
            await anext(answer)

        async def call() -> None:
            with pytest.raises(OwnerLost):
                await echo(bus, name)

        await call()


async def test_an_owner_that_stands_still_is_lost_and_does_not_act_later(bus: RedisBus, owner: Owner) -> None:
    program, name = owner
    await echo(bus, name, b"before")
    program.signal(signal.SIGSTOP)
    async with asyncio.timeout(30):
        with pytest.raises(OwnerLost):
            await echo(bus, name, b"too-late")
    program.signal(signal.SIGCONT)
    await until(lambda: echo(bus, name, b"after"), OwnerLost)
    await line(program, "echo after")
    assert "too-late" not in program.output()


async def test_the_work_of_a_killed_caller_ends(redis: Redis, prefix: str, bus: RedisBus, owner: Owner) -> None:
    program, name = owner
    with owner_process(redis, prefix) as (middle, middle_name):
        answer = bus.call(middle_name, "relay", name.encode() + b" mine")
        assert await anext(answer) == b"held"
        middle.signal(signal.SIGKILL)
        await line(program, "released mine")
        with pytest.raises(OwnerLost):
            await anext(answer)


async def test_closing_early_ends_the_work_in_another_process(bus: RedisBus, owner: Owner) -> None:
    program, name = owner
    async with contextlib.aclosing(bus.call(name, "hold", b"it")) as answer:
        assert await anext(answer) == b"held"
    await line(program, "released it")


async def test_while_redis_is_away_everything_fails_fast_and_later_works_again(
    redis: Redis, bus: RedisBus, owner: Owner
) -> None:
    _, name = owner
    assert await echo(bus, name, b"one") == b"one"
    redis.kill()
    began = time.monotonic()
    for work in (
        lambda: echo(bus, name),
        lambda: bus.tell(name, "echo", b"x"),
        lambda: bus.publish("said", b"x"),
        lambda: bus.get("x"),
        lambda: bus.put("x", b"", 1),
        lambda: bus.claim("x", 1),
        lambda: bus.take("x", [("x", 1, 1.0)]),
    ):
        with pytest.raises(BusUnavailable):
            await work()
    assert time.monotonic() - began < 10
    redis.start()
    await until(lambda: echo(bus, name), BusUnavailable, OwnerLost)
    await bus.put("x", b"there", 60)
    assert await bus.get("x") == b"there"


async def test_a_call_in_flight_fails_when_redis_stays_away(redis: Redis, bus: RedisBus, owner: Owner) -> None:
    program, name = owner
    async with asyncio.timeout(30), contextlib.aclosing(bus.call(name, "hold", b"work")) as answer:
        assert await anext(answer) == b"held"
        redis.kill()
        with pytest.raises(BusUnavailable):
            await anext(answer)
    await line(program, "released work")


async def test_a_redis_that_answers_nothing_fails_calls_in_time(redis: Redis, bus: RedisBus, owner: Owner) -> None:
    _, name = owner
    await echo(bus, name)
    redis.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(20):
            with pytest.raises(BusUnavailable):
                await bus.get("x")
            with pytest.raises(BusUnavailable):
                await echo(bus, name)
    finally:
        redis.signal(signal.SIGCONT)
    await until(lambda: echo(bus, name), BusUnavailable, OwnerLost)


async def test_a_call_in_flight_outlives_a_loss_of_all_data(redis: Redis, prefix: str, bus: RedisBus) -> None:
    other = RedisBus(redis.url, prefix)
    go_on = asyncio.Event()

    async def slow(message: bytes) -> AsyncIterator[bytes]:
        yield b"first"
        await go_on.wait()
        yield b"last"

    other.serve("slow", slow)
    await other.start()
    try:
        async with asyncio.timeout(30), contextlib.aclosing(bus.call(other.name, "slow", b"")) as answer:
            assert await anext(answer) == b"first"
            redis.cli("flushall")
            go_on.set()
            assert await anext(answer) == b"last"
    finally:
        await other.aclose()


async def test_after_a_loss_of_all_data_an_owner_is_not_taken_for_dead(
    redis: Redis, bus: RedisBus, owner: Owner
) -> None:
    _, name = owner
    for _ in range(3):
        redis.cli("flushall")
        assert await echo(bus, name, b"here") == b"here"


async def test_an_answer_that_redis_lost_is_noticed(redis: Redis, prefix: str, bus: RedisBus) -> None:
    server = RedisBus(redis.url, prefix)
    go_on = asyncio.Event()

    async def hold(message: bytes) -> AsyncIterator[bytes]:
        yield b"first"
        await go_on.wait()
        yield b"second"
        yield b"third"

    server.serve("hold", hold)
    await server.start()
    try:
        with owner_process(redis, prefix) as (caller, caller_name):
            async with (
                asyncio.timeout(40),
                contextlib.aclosing(bus.call(caller_name, "relay", server.name.encode() + b" x")) as answer,
            ):
                assert await anext(answer) == b"first"
                caller.signal(signal.SIGSTOP)
                go_on.set()
                # What it was reading is on its way to it; the next stays in Redis.
                inbox = f"{prefix}:{{process:{caller_name}}}:inbox"
                while int(redis.cli("xlen", inbox)) < 3:  # noqa: ASYNC110 - Redis has no event for it
                    await asyncio.sleep(0.01)
                redis.cli("flushall")
                caller.signal(signal.SIGCONT)
                with pytest.raises((CallFailed, OwnerLost)):
                    [frame async for frame in answer]
            assert "third" not in caller.output()
    finally:
        await server.aclose()


@pytest.mark.parametrize("connection", ["lost", "kept"])
async def test_an_event_that_was_missed_is_told_as_missed(
    redis: Redis, prefix: str, bus: RedisBus, connection: str
) -> None:
    heard: asyncio.Queue[bytes | None] = asyncio.Queue()
    bus.subscribe("said", heard.put_nowait)
    async with asyncio.timeout(30):
        await bus.publish("said", b"one")
        assert await heard.get() == b"one"
        if connection == "lost":
            redis.cli("client", "kill", "type", "pubsub")
        # As if another had published.
        redis.cli("hincrby", f"{prefix}:{{events}}:counter", "number", "1")
        assert await heard.get() is None
        await bus.publish("said", b"two")
        assert await heard.get() == b"two"
    assert heard.empty()


async def test_after_a_restart_of_redis_events_come_again_and_the_gap_is_told(redis: Redis, bus: RedisBus) -> None:
    heard: asyncio.Queue[bytes | None] = asyncio.Queue()
    bus.subscribe("said", heard.put_nowait)
    async with asyncio.timeout(60):
        await bus.publish("said", b"one")
        assert await heard.get() == b"one"
        redis.kill()
        redis.start()
        assert await heard.get() is None
        await until(lambda: bus.publish("said", b"two"), BusUnavailable)
        while await heard.get() != b"two":
            pass


async def test_an_owner_that_leaves_fails_its_calls_at_once(redis: Redis, prefix: str, bus: RedisBus) -> None:
    other = RedisBus(redis.url, prefix)

    async def hold(message: bytes) -> AsyncIterator[bytes]:
        yield b"held"
        await asyncio.Event().wait()

    other.serve("hold", hold)
    await other.start()
    async with asyncio.timeout(20), contextlib.aclosing(bus.call(other.name, "hold", b"")) as answer:
        assert await anext(answer) == b"held"
        waiting = asyncio.ensure_future(anext(answer))
        await other.aclose()
        with pytest.raises(OwnerLost):
            await waiting
    with pytest.raises(OwnerLost):
        await echo(bus, other.name)


async def test_a_bus_without_redis_does_not_start(redis: Redis, prefix: str) -> None:
    redis.kill()
    with pytest.raises(BusUnavailable, match=rf"127\.0\.0\.1:{redis.port}"):
        await RedisBus(redis.url, prefix).start()


async def test_a_connection_that_is_lost_for_a_moment_costs_no_call(redis: Redis, bus: RedisBus, owner: Owner) -> None:
    program, name = owner
    async with asyncio.timeout(30), contextlib.aclosing(bus.call(name, "hold", b"on")) as answer:
        assert await anext(answer) == b"held"
        redis.cli("client", "kill", "type", "normal")
        await until(lambda: echo(bus, name), BusUnavailable)
        assert "released" not in program.output()
    await line(program, "released on")


async def test_an_inbox_is_bounded_and_what_cannot_be_read_is_passed_over(
    redis: Redis, prefix: str, bus: RedisBus, owner: Owner
) -> None:
    program, name = owner
    await echo(bus, name)
    program.signal(signal.SIGSTOP)
    fill = "for i = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'm', 'nothing that can be read') end"
    redis.cli("eval", fill, "1", f"{prefix}:{{process:{name}}}:inbox", str(redis_bus.MAX_INBOX))
    with pytest.raises(BusUnavailable, match="wait for that process"):
        await bus.tell(name, "echo", b"x")
    program.signal(signal.SIGCONT)
    await until(lambda: echo(bus, name, b"after"), BusUnavailable, OwnerLost)
    await line(program, "echo after")


async def test_two_gateways_share_one_redis(redis: Redis, prefix: str, bus: RedisBus) -> None:
    stranger = RedisBus(redis.url, prefix + "2")
    heard: asyncio.Queue[bytes | None] = asyncio.Queue()
    stranger.subscribe("said", heard.put_nowait)
    await stranger.start()
    try:
        with pytest.raises(OwnerLost):
            await echo(bus, stranger.name)
        await bus.put("x", b"", 60)
        assert await bus.claim("x", 60)
        assert await stranger.get("x") is None
        assert await stranger.claim("x", 60)
        await bus.publish("said", b"")
        await stranger.publish("said", b"own")
        async with asyncio.timeout(20):
            assert await heard.get() == b"own"
    finally:
        await stranger.aclose()


async def test_nothing_stays_in_redis_for_ever(redis: Redis, bus: RedisBus, owner: Owner) -> None:
    _, name = owner
    await echo(bus, name)
    await bus.tell(name, "echo", b"told")
    await bus.publish("said", b"x")
    await bus.put("x", b"", 60)
    await bus.claim("x", 60)
    await bus.take("x", [("x", 1, 1.0)])
    await bus.lease("x", 60)
    keys = redis.cli("keys", "*").splitlines()
    assert len(keys) >= 9
    assert [key for key in keys if int(redis.cli("pttl", key)) == -1] == []


async def test_password_and_tls_come_with_the_url(prefix: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    port = free_port()
    files = {"cert-file": "cert.pem", "key-file": "key.pem", "ca-cert-file": "ca.pem"}
    options = [text for name, file in files.items() for text in (f"--tls-{name}", str(tmp_path / file))]
    server = Redis("--tls-port", str(port), *options, "--tls-auth-clients", "no", "--requirepass", "pass:word")
    try:
        url = f"rediss://:pass%3Aword@localhost:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
        secure = RedisBus(url, prefix)
        await secure.start()
        assert await secure.claim("x", 60)
        await secure.aclose()
        with pytest.raises(BusUnavailable) as caught:
            await RedisBus(url.replace("pass%3Aword", "wrong-word"), prefix).start()
        assert "wrong-word" not in str(caught.value)
        with pytest.raises(BusUnavailable, match="certificate"):
            await RedisBus(url.partition("?")[0], prefix).start()
    finally:
        server.close()


async def test_a_holder_that_stood_still_is_refused(redis: Redis, prefix: str, bus: RedisBus, owner: Owner) -> None:
    program, name = owner
    await bus.tell(name, "hold lease", b"0.5")
    number = int((await line(program, r"^leased \d+")).split()[1])
    program.signal(signal.SIGSTOP)
    async with asyncio.timeout(30):
        while (mine := await bus.lease("x", 60)) is None:  # noqa: ASYNC110 - its time is what ends it
            await asyncio.sleep(0.02)
    assert mine.number > number
    assert await bus.renew(mine, 60, b"mine")
    program.signal(signal.SIGCONT)
    await line(program, "^lost")
    assert redis.cli("hget", f"{prefix}:lease:x", "note") == "mine"
    assert await bus.renew(mine, 60)


async def test_numbers_rise_over_a_redis_that_comes_back_empty(redis: Redis, bus: RedisBus) -> None:
    first = await bus.lease("x", 60)
    assert first is not None
    redis.kill()
    with pytest.raises(BusUnavailable):
        await bus.renew(first, 60)
    redis.start()

    async def renewed() -> bool:
        return await bus.renew(first, 60)

    await until(renewed, BusUnavailable)
    assert not await renewed(), "nobody has it"
    second = await bus.lease("x", 60)
    assert second is not None
    assert second.number > first.number
    assert not await bus.renew(first, 60, b"old")


async def test_no_more_calls_are_answered_at_a_time_than_allowed(
    bus: RedisBus, redis: Redis, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_work, "MAX_ANSWERING", 2)
    other = RedisBus(redis.url, prefix)
    go_on = asyncio.Event()

    async def hold(message: bytes) -> AsyncIterator[bytes]:
        yield b"held"
        await go_on.wait()

    other.serve("hold", hold)
    await other.start()
    try:
        async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
            for _ in range(2):
                answer = await stack.enter_async_context(contextlib.aclosing(bus.call(other.name, "hold", b"")))
                assert await anext(answer) == b"held"
            with pytest.raises(CallFailed, match="2 calls are being answered"):
                await anext(bus.call(other.name, "hold", b""))
            go_on.set()
            assert [frame async for frame in answer] == []
            # And what has ended makes room, a moment later.
            await until(lambda: anext(bus.call(other.name, "hold", b"")), CallFailed)
    finally:
        await other.aclose()
