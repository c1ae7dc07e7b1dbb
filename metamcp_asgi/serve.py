"""Runs a gateway under uvicorn, and tells the operator what is served and how to reach it."""

import asyncio
import contextlib
import json
import math
import signal

import click
import uvicorn

from metamcp_asgi.aggregate.catalogue import Catalogue
from metamcp_asgi.gateway import Gateway
from metamcp_asgi.http_server import bounded
from metamcp_asgi.tasks import Tasks

__all__ = ["describe", "run"]


def run(gateway: Gateway) -> int:
    """Serve until told to stop.

    Args:
        gateway: What to serve.

    Returns:
        The exit code.
    """
    settings = gateway.settings
    server = _Server(
        uvicorn.Config(
            gateway,
            host=settings.host,
            port=settings.port,
            http=bounded(settings.max_header_bytes),
            limit_concurrency=settings.max_connections,
            lifespan="on",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(settings.shutdown_seconds),
        ),
        gateway,
    )
    # uvicorn raises the signal that ended it once more, for whoever runs it.
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else 1


class _Server(uvicorn.Server):
    """uvicorn's server, which also says what it serves, reloads on SIGHUP, and lets go of streams that never end."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._tasks = Tasks()

    async def startup(self, sockets: object = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]
        if not self.started:
            return
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, lambda: self._tasks.start(self._gateway.reload(), "reload")
        )
        port = self.servers[0].sockets[0].getsockname()[1]
        host = self._gateway.settings.host
        host = f"[{host}]" if ":" in host else {"0.0.0.0": "127.0.0.1"}.get(host, host)  # noqa: S104
        _introduce(self._gateway, self._gateway.settings.app_url or f"http://{host}:{port}")
        self._tasks.start(_report(self._gateway), "report the servers")

    async def shutdown(self, sockets: object = None) -> None:
        await self._tasks.aclose()
        # uvicorn waits for every response to end, and these end only when asked to.
        self._gateway.close_streams()
        await super().shutdown(sockets)  # type: ignore[arg-type]


def _introduce(gateway: Gateway, base: str) -> None:
    endpoints = gateway.snapshot.endpoints
    click.echo(f"metamcp serves {gateway.name} on {base}\n")
    for name, endpoint in endpoints.items():
        click.echo(f"  {base}/metamcp/{name}/mcp   {'open to everybody' if endpoint.open else 'asks for an API key'}")
    if not endpoints:
        click.echo("  nothing is published yet: an endpoint appears here as soon as there is one")
        return
    name, endpoint = next(iter(endpoints.items()))
    url = f"{base}/metamcp/{name}/mcp"
    entry: dict[str, object] = {"url": url}
    key = ""
    if not endpoint.open:
        entry["headers"] = {"Authorization": "Bearer YOUR_API_KEY"}
        key = " -H 'Authorization: Bearer YOUR_API_KEY'"
    snippet = json.dumps({"mcpServers": {f"metamcp-{name}": entry}}, indent=2)
    call = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/list",
        "params": {
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            }
        },
    }
    click.echo("\nConnect a client (mcp.json of Cursor, Claude Code and others):\n")
    click.echo("\n".join(f"  {line}" for line in snippet.splitlines()))
    click.echo("\nOr by hand:\n")
    click.echo(
        f"  curl {url}{key} -H 'Content-Type: application/json' \\\n"
        "    -H 'Accept: application/json, text/event-stream' \\\n"
        "    -H 'MCP-Protocol-Version: 2026-07-28' -H 'Mcp-Method: tools/list' \\\n"
        f"    -d '{json.dumps(call)}'\n"
    )


async def _report(gateway: Gateway) -> None:
    """Print one line for each server as soon as its state is known."""
    waiting = {asyncio.ensure_future(c.ready()): c for c in gateway.aggregator.catalogues.values()}
    for config in gateway.snapshot.servers.values():
        if config.disabled:
            click.echo(f"  {config.name}: disabled")
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                catalogue = waiting.pop(future)
                click.echo(f"  {describe(catalogue)}")
                if catalogue.lists is None:
                    click.echo(
                        "".join(f"      {line}\n" for line in catalogue.server.stderr.splitlines()[-10:]), nl=False
                    )
    finally:
        for future in waiting:
            future.cancel()


def describe(catalogue: Catalogue) -> str:
    """Return a server's state, era and number of tools in one line."""
    server = catalogue.server
    if catalogue.lists is None or server.peer is None:
        return f"{server.name}: failed: {catalogue.unavailable}"
    count = len(catalogue.lists["tools/list"].entries)
    tools = "1 tool" if count == 1 else f"{count} tools"
    return f"{server.name}: {server.state}, {server.peer.era} {server.peer.revision}, {tools}"
