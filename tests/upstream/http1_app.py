"""What the real servers of the tests serve: the same five paths, as an ASGI and as an aiohttp application.

`/echo` answers with the request's body, `/stream` with three events, `/none` with 204, `/close` closes the connection,
all others are 404. `X-Peer` tells the port that the request came from, and so which of them shared a connection.
"""

import asyncio
import sys
from typing import Any

EVENTS = [b"event: message\r\ndata: %d\r\n\r\n" % number for number in range(3)]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    peer = (b"x-peer", b"%d" % scope["client"][1])

    async def start(status: int, *headers: tuple[bytes, bytes]) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [peer, *headers]})

    if scope["path"] == "/echo":
        await start(200, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
    elif scope["path"] == "/stream":
        await start(200, (b"content-type", b"text/event-stream; charset=utf-8"))
        for event in EVENTS:
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.sleep(0)
        body = b""
    elif scope["path"] == "/none":
        await start(204)
        body = b""
    elif scope["path"] == "/close":
        await start(200, (b"connection", b"close"))
        body = b"bye"
    else:
        await start(404, (b"content-length", b"4"))
        body = b"none"
    await send({"type": "http.response.body", "body": body})


def _run_aiohttp() -> None:
    from aiohttp import web

    def peer(request: web.Request) -> dict[str, str]:
        assert request.transport is not None
        return {"X-Peer": str(request.transport.get_extra_info("peername")[1])}

    async def echo(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), headers=peer(request), content_type="application/json")

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **peer(request)})
        await response.prepare(request)
        for event in EVENTS:
            await response.write(event)
        await response.write_eof()
        return response

    async def none(request: web.Request) -> web.Response:
        return web.Response(status=204, headers=peer(request))

    async def close(request: web.Request) -> web.Response:
        response = web.Response(text="bye", headers=peer(request))
        response.force_close()
        return response

    async def serve() -> None:
        served = web.Application(client_max_size=10_000_000)
        served.router.add_post("/echo", echo)
        served.router.add_post("/stream", stream)
        served.router.add_get("/none", none)
        served.router.add_get("/close", close)
        runner = web.AppRunner(served)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(f"running on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    assert sys.argv[1:] == ["aiohttp"]
    _run_aiohttp()
