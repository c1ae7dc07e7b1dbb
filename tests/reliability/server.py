"""A server of either era in a process of its own, which can be stopped and killed: the tools `echo` and `pid`.

python -m tests.reliability.server modern|legacy [PORT]
"""

import asyncio
import os
import sys

import uvicorn

from tests.gateway.client import JSON
from tests.gateway.upstreams.raw import RawServer, Seen, text_result
from tests.uvicorn_server import LoopServer


def _pid(seen: Seen) -> JSON:
    return text_result(str(os.getpid()), **({"resultType": "complete"} if seen.server.era == "modern" else {}))


async def serve(era: str, port: int) -> None:
    """Serves until it is ended."""
    server = RawServer(era, ("echo", "pid"), {"tools/call pid": _pid})
    config = uvicorn.Config(server, host="127.0.0.1", port=port, log_config=None, lifespan="off", ws="none")
    running = LoopServer(config)
    task = await running.begin()
    print("listens on", running.port, flush=True)
    await task


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
