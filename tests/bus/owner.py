"""A process of the tests that answers calls: `python -m tests.bus.owner URL PREFIX`; prints what happens."""

import asyncio
import sys
from collections.abc import AsyncIterator

from metamcp_asgi.bus.open import open_bus


async def echo(message: bytes) -> AsyncIterator[bytes]:
    print("echo", message.decode(), flush=True)
    yield message


async def hold(message: bytes) -> AsyncIterator[bytes]:
    try:
        yield b"held"
        await asyncio.Event().wait()
    finally:
        print("released", message.decode(), flush=True)


async def main(url: str, prefix: str) -> None:
    bus = open_bus(url, prefix)
    bus.serve("echo", echo)
    bus.serve("hold", hold)

    async def relay(message: bytes) -> AsyncIterator[bytes]:
        owner, _, rest = message.partition(b" ")
        async for frame in bus.call(owner.decode(), "hold", rest):
            print("relay", frame.decode(), flush=True)
            yield frame

    async def hold_lease(message: bytes) -> AsyncIterator[bytes]:
        seconds = float(message)
        lease = await bus.lease("x", seconds)
        assert lease is not None
        print("leased", lease.number, flush=True)
        while await bus.renew(lease, seconds, b"stood still"):  # noqa: ASYNC110 - as a holder does
            await asyncio.sleep(seconds / 5)
        print("lost", flush=True)
        return
        yield b""

    bus.serve("relay", relay)
    bus.serve("hold lease", hold_lease)
    bus.subscribe("said", lambda event: print("heard", event, flush=True))
    await bus.start()
    print("owner", bus.name, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
