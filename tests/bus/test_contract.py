"""What every bus does, with one process and with many."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from metamcp_asgi.bus.protocol import MAX_FRAME, MAX_MESSAGE, Bus, CallFailed, MessageTooLarge, OwnerLost
from metamcp_asgi.bus.wire import WINDOW

Pair = tuple[Bus, Bus]


async def echo(message: bytes) -> AsyncIterator[bytes]:
    yield message


async def count(message: bytes) -> AsyncIterator[bytes]:
    for number in range(int(message)):
        yield b"%d" % number


async def start(pair: Pair) -> Pair:
    caller, owner = pair
    await caller.start()
    if owner is not caller:
        await owner.start()
    return pair


async def frames(bus: Bus, owner: str, kind: str, message: bytes = b"") -> list[bytes]:
    async with asyncio.timeout(20), contextlib.aclosing(bus.call(owner, kind, message)) as answer:
        return [frame async for frame in answer]


async def test_a_call_is_answered_with_its_frames_in_their_order(pair: Pair) -> None:
    caller, owner = pair
    owner.serve("count", count)
    owner.serve("echo", echo)
    await start(pair)
    assert await frames(caller, owner.name, "count", b"0") == []
    assert await frames(caller, owner.name, "echo", b"") == [b""]
    assert await frames(caller, owner.name, "echo", bytes(range(256))) == [bytes(range(256))]
    assert await frames(caller, owner.name, "count", b"3000") == [b"%d" % number for number in range(3000)]


async def test_a_process_reaches_itself(pair: Pair) -> None:
    _, owner = pair
    owner.serve("echo", echo)
    await start(pair)
    assert await frames(owner, owner.name, "echo", b"me") == [b"me"]


async def test_names_are_never_used_again(url: str | None, prefix: str) -> None:
    from metamcp_asgi.bus.open import open_bus

    names = {open_bus(url, prefix).name for _ in range(100)}
    assert len(names) == 100
    assert min(map(len, names)) >= 16


async def test_frames_come_as_they_are_made(pair: Pair) -> None:
    caller, owner = pair
    go_on = asyncio.Event()

    async def slow(message: bytes) -> AsyncIterator[bytes]:
        yield b"first"
        await go_on.wait()
        yield b"last"

    owner.serve("slow", slow)
    await start(pair)
    async with asyncio.timeout(20), contextlib.aclosing(caller.call(owner.name, "slow", b"")) as answer:
        assert await anext(answer) == b"first"
        go_on.set()
        assert [frame async for frame in answer] == [b"last"]


async def test_many_calls_at_the_same_time_keep_apart(pair: Pair) -> None:
    caller, owner = pair
    everyone = asyncio.Barrier(100)

    async def meet(message: bytes) -> AsyncIterator[bytes]:
        yield b"came " + message
        await everyone.wait()
        yield b"left " + message

    owner.serve("meet", meet)
    await start(pair)
    answers = await asyncio.gather(*(frames(caller, owner.name, "meet", b"%d" % number) for number in range(100)))
    assert answers == [[b"came %d" % number, b"left %d" % number] for number in range(100)]


async def test_closing_early_ends_the_work(pair: Pair) -> None:
    caller, owner = pair
    ended = asyncio.Event()

    async def endless(message: bytes) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            ended.set()

    owner.serve("endless", endless)
    await start(pair)
    async with contextlib.aclosing(caller.call(owner.name, "endless", b"")) as answer:
        assert await anext(answer) == b"first"
    async with asyncio.timeout(20):
        await ended.wait()


async def test_a_cancelled_caller_ends_the_work(pair: Pair) -> None:
    caller, owner = pair
    began, ended = asyncio.Event(), asyncio.Event()

    async def endless(message: bytes) -> AsyncIterator[bytes]:
        try:
            began.set()
            await asyncio.Event().wait()
            yield b""
        finally:
            ended.set()

    owner.serve("endless", endless)
    await start(pair)
    waiting = asyncio.create_task(frames(caller, owner.name, "endless"))
    async with asyncio.timeout(20):
        await began.wait()
        waiting.cancel()
        await ended.wait()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_is_made_faster_than_taken_waits_at_the_owner(pair: Pair) -> None:
    caller, owner = pair
    made = 0

    async def flood(message: bytes) -> AsyncIterator[bytes]:
        nonlocal made
        for _ in range(200):
            made += 1
            yield bytes(WINDOW // 20)

    owner.serve("flood", flood)
    owner.serve("echo", echo)
    await start(pair)
    async with asyncio.timeout(60), contextlib.aclosing(caller.call(owner.name, "flood", b"")) as answer:
        await anext(answer)
        for _ in range(20):  # the owner has every opportunity to go on
            await frames(caller, owner.name, "echo", b"")
        assert made < 50
        assert len([frame async for frame in answer]) == 199


async def test_a_large_frame_comes_whole(pair: Pair) -> None:
    caller, owner = pair

    async def large(message: bytes) -> AsyncIterator[bytes]:
        yield b"small"
        yield bytes(range(256)) * (int(message) // 256)
        yield b"small again"

    owner.serve("large", large)
    await start(pair)
    first, second, third = await frames(caller, owner.name, "large", b"30000128")
    assert (first, len(second), third) == (b"small", 30_000_128, b"small again")
    assert second == bytes(range(256)) * (30_000_128 // 256)


async def test_a_message_may_be_large_and_not_too_large(pair: Pair) -> None:
    caller, owner = pair

    async def size(message: bytes) -> AsyncIterator[bytes]:
        yield b"%d" % len(message)

    owner.serve("size", size)
    await start(pair)
    assert await frames(caller, owner.name, "size", bytes(MAX_MESSAGE)) == [b"%d" % MAX_MESSAGE]
    too_large = bytes(MAX_MESSAGE + 1)
    with pytest.raises(MessageTooLarge, match=str(MAX_MESSAGE + 1)):
        await frames(caller, owner.name, "size", too_large)
    with pytest.raises(MessageTooLarge):
        await caller.tell(owner.name, "size", too_large)
    with pytest.raises(MessageTooLarge):
        await caller.publish("size", too_large)
    with pytest.raises(MessageTooLarge):
        await caller.put("size", too_large, 60)


async def test_a_frame_that_is_too_large_fails_the_call(pair: Pair) -> None:
    caller, owner = pair

    async def huge(message: bytes) -> AsyncIterator[bytes]:
        yield bytes(MAX_FRAME + 1)

    owner.serve("huge", huge)
    await start(pair)
    with pytest.raises(CallFailed, match=str(MAX_FRAME)):
        await frames(caller, owner.name, "huge")


async def test_a_handler_that_fails_fails_the_call_and_nothing_else(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caller, owner = pair

    async def broken(message: bytes) -> AsyncIterator[bytes]:
        yield b"first"
        raise ValueError("secret detail")

    owner.serve("broken", broken)
    owner.serve("echo", echo)
    await start(pair)
    async with asyncio.timeout(20), contextlib.aclosing(caller.call(owner.name, "broken", b"")) as answer:
        assert await anext(answer) == b"first"
        with pytest.raises(CallFailed, match="broken") as caught:
            await anext(answer)
    assert "secret detail" not in str(caught.value)
    assert "secret detail" in caplog.text
    assert await frames(caller, owner.name, "echo", b"still") == [b"still"]


async def test_a_kind_that_is_not_answered_says_so(pair: Pair) -> None:
    caller, owner = pair
    await start(pair)
    with pytest.raises(CallFailed, match="unknown"):
        await frames(caller, owner.name, "unknown")


async def test_a_kind_has_one_handler(pair: Pair) -> None:
    caller, _ = pair
    caller.serve("echo", echo)
    with pytest.raises(ValueError, match="echo"):
        caller.serve("echo", echo)


async def test_the_owner_of_nothing_is_lost(pair: Pair) -> None:
    caller, _ = await start(pair)
    with pytest.raises(OwnerLost):
        await frames(caller, "never-was", "echo")
    with pytest.raises(OwnerLost):
        await caller.tell("never-was", "echo", b"")


async def test_an_owner_that_left_is_lost(pair: Pair) -> None:
    caller, owner = pair
    owner.serve("echo", echo)
    await start(pair)
    await owner.aclose()
    with pytest.raises(OwnerLost):
        await frames(caller, owner.name, "echo")
    with pytest.raises(OwnerLost):
        await caller.tell(owner.name, "echo", b"")


async def test_what_is_told_arrives_in_order(pair: Pair) -> None:
    caller, owner = pair
    heard: list[bytes] = []
    done = asyncio.Event()

    async def hear(message: bytes) -> AsyncIterator[bytes]:
        heard.append(message)
        if len(heard) == 1000:
            done.set()
        yield b"dropped"

    owner.serve("hear", hear)
    await start(pair)
    for number in range(1000):
        await caller.tell(owner.name, "hear", b"%d" % number)
    async with asyncio.timeout(20):
        await done.wait()
    assert heard == [b"%d" % number for number in range(1000)]


async def test_an_event_is_told_to_all_who_listen_to_its_topic(pair: Pair) -> None:
    caller, owner = await start(pair)
    heard: asyncio.Queue[tuple[str, bytes | None]] = asyncio.Queue()

    def broken(event: bytes | None) -> None:
        raise ValueError("a listener's defect")

    caller.subscribe("changed", broken)
    caller.subscribe("changed", lambda event: heard.put_nowait(("one", event)))
    end = owner.subscribe("changed", lambda event: heard.put_nowait(("two", event)))
    owner.subscribe("other", lambda event: heard.put_nowait(("other", event)))
    await caller.publish("changed", b"news \x00\xff")
    async with asyncio.timeout(20):
        assert {await heard.get(), await heard.get()} == {("one", b"news \x00\xff"), ("two", b"news \x00\xff")}
        end()
        end()
        await owner.publish("changed", b"more")
        assert await heard.get() == ("one", b"more")
        await owner.publish("other", b"")
        assert await heard.get() == ("other", b"")
    assert heard.empty()


async def test_facts_are_shared_and_end_with_their_time(pair: Pair) -> None:
    caller, owner = await start(pair)
    assert await caller.get("who") is None
    await caller.put("who", b"one", 60)
    assert await owner.get("who") == b"one"
    await owner.put("who", b"two", 60)
    assert await caller.get("who") == b"two"
    await caller.put("who", b"three", 0.05)
    async with asyncio.timeout(20):
        while await owner.get("who") is not None:  # noqa: ASYNC110 - time is what ends it
            await asyncio.sleep(0.01)


async def test_one_of_all_who_claim_gets_it(pair: Pair) -> None:
    caller, owner = await start(pair)
    claims = await asyncio.gather(*((caller, owner)[number % 2].claim("once", 60) for number in range(50)))
    assert sum(claims) == 1
    assert await caller.get("once") is None
    assert await caller.claim("brief", 0.05)
    async with asyncio.timeout(20):
        while not await owner.claim("brief", 60):  # noqa: ASYNC110 - time is what ends it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("key", ["{a}b", "a}b{", "", "ü :*?", "x" * 1000])
async def test_any_key_will_do(pair: Pair, key: str) -> None:
    caller, owner = await start(pair)
    await caller.put(key, b"\x00\xff", 60)
    assert await owner.get(key) == b"\x00\xff"
    assert await caller.claim(key, 60)
    assert not await owner.claim(key, 60)


async def test_what_is_told_to_all_reaches_every_other_process(pair: Pair) -> None:
    caller, owner = pair
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    for bus, name in {caller: "caller", owner: "owner"}.items():

        async def hear(message: bytes, name: str = name) -> AsyncIterator[bytes]:
            heard.put_nowait((name, message))
            yield b"dropped"

        bus.serve("hear", hear)
    await start(pair)
    await caller.tell_all("hear", b"one")
    if not caller.alone:
        async with asyncio.timeout(20):
            assert await heard.get() == ("owner", b"one")
            for number in range(100):
                await owner.tell_all("hear", b"%d" % number)
            assert [await heard.get() for _ in range(100)] == [("caller", b"%d" % number) for number in range(100)]
        await owner.aclose()
        await caller.tell_all("hear", b"nobody")
    assert heard.empty()
    with pytest.raises(MessageTooLarge):
        await caller.tell_all("hear", bytes(MAX_MESSAGE + 1))


async def test_a_lease_has_one_holder_until_it_is_over_or_given_up(pair: Pair) -> None:
    one, other = await start(pair)
    first = await one.lease("x", 60)
    assert first is not None
    assert (first.before, first.note) == (None, b"")
    assert await other.lease("x", 60) is None
    assert await one.lease("x", 60) is None, "nor has its holder it twice"
    assert await other.holder("x") == one.name
    assert await other.holder("y") is None
    await one.release(first)
    await one.release(first)
    assert await one.holder("x") is None
    assert not await one.renew(first, 60)
    second = await other.lease("x", 0.05)
    assert second is not None
    assert second.number > first.number
    async with asyncio.timeout(20):
        while (third := await one.lease("x", 60)) is None:  # noqa: ASYNC110 - time is what ends it
            await asyncio.sleep(0.01)
    assert third.number > second.number
    assert third.before is None, "its time was over"


async def test_of_all_who_want_a_lease_one_gets_it(pair: Pair) -> None:
    buses = await start(pair)
    taken = await asyncio.gather(*(buses[number % 2].lease("x", 60) for number in range(50)))
    assert sum(lease is not None for lease in taken) == 1


async def test_a_lease_that_is_seized_brings_its_note_and_is_lost_to_who_had_it(pair: Pair) -> None:
    one, other = await start(pair)
    first = await one.lease("x", 60)
    assert first is not None
    assert await one.renew(first, 60, b"\x00 note")
    assert await one.renew(first, 60), "and what is not said again, stays"
    second = await other.lease("x", 60, seize=True)
    assert second is not None
    assert second.number > first.number
    assert (second.before, second.note) == (one.name, b"\x00 note")
    # Whoever had it does not know, and is refused: neither time nor note change, and it gives up what is not its own.
    assert not await one.renew(first, 60, b"old")
    await one.release(first)
    assert await one.holder("x") == other.name
    third = await one.lease("x", 60, seize=True)
    assert third is not None
    assert (third.before, third.note) == (other.name, b"\x00 note")


async def test_a_lease_can_be_seized_from_one_process_only(pair: Pair) -> None:
    one, other = await start(pair)
    first = await one.lease("x", 60)
    assert first is not None
    assert await other.lease("x", 60, seize="somebody else") is None
    assert await one.holder("x") == one.name
    second = await other.lease("x", 60, seize=one.name)
    assert second is not None
    assert (second.before, second.number > first.number) == (one.name, True)
    free = await other.lease("y", 60, seize="somebody else")
    assert free is not None, "there is nobody to take it from"


async def test_seizing_at_the_same_time_gives_each_who_comes_the_one_before(pair: Pair) -> None:
    buses = await start(pair)
    taken = await asyncio.gather(*(buses[number % 2].lease("x", 60, seize=True) for number in range(50)))
    numbers = sorted(lease.number for lease in taken if lease is not None)
    assert len(set(numbers)) == 50
    last = next(lease for lease in taken if lease is not None and lease.number == numbers[-1])
    kept = [await buses[number % 2].renew(lease, 60) for number, lease in enumerate(taken) if lease is not None]
    assert sum(kept) == 1
    assert await buses[0].renew(last, 60)
