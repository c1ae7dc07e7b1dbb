"""The Python SDK's everything-server, on a port that it picks itself and prints, or over stdio.

    python everything.py [stdio | sse]

Run with the everything-server's folder on PYTHONPATH.
"""

import asyncio
import socket
import sys

import uvicorn
from mcp_everything_server.server import event_store, mcp


class AnnouncingServer(uvicorn.Server):
    """Prints the URL as soon as the socket listens."""

    path = "/mcp"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"ready http://127.0.0.1:{port}{self.path}", flush=True)


def main() -> None:
    if sys.argv[1:] == ["stdio"]:
        mcp.run(transport="stdio")
        return
    over_sse = sys.argv[1:] == ["sse"]
    app = mcp.sse_app() if over_sse else mcp.streamable_http_app(event_store=event_store, retry_interval=100)
    # h11, because httptools leaves the white space after a header's value, which the SDK does not expect.
    server = AnnouncingServer(uvicorn.Config(app, host="127.0.0.1", port=0, http="h11", log_level="warning"))
    server.path = "/sse" if over_sse else "/mcp"
    asyncio.run(server.serve())


if __name__ == "__main__":
    main()
