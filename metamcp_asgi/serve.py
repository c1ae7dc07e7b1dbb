"""Runs a gateway under uvicorn, and tells the operator what is served and how to reach it."""

import asyncio
import contextlib
import errno
import json
import math
import signal
import socket
from typing import Any

import click
import uvicorn

from metamcp_asgi.aggregate.catalogue import Catalogue
from metamcp_asgi.bus.open import open_bus
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.gateway import Gateway
from metamcp_asgi.http_server import bounded
from metamcp_asgi.settings import Settings
from metamcp_asgi.systemd import listeners, notify
from metamcp_asgi.tasks import Tasks

__all__ = ["GatewayServer", "check_free", "describe", "introduce", "options", "origin", "reach", "run"]


def run(gateway: Gateway) -> int:
    """Serve until told to stop.

    Args:
        gateway: What to serve.

    Returns:
        The exit code.
    """
    settings = gateway.settings
    config = uvicorn.Config(
        gateway,
        host=settings.host,
        port=settings.port,
        http=bounded(settings.max_header_bytes),
        log_config=None,
        **options(settings),
    )
    server = GatewayServer(config, gateway)
    # uvicorn raises the signal that ended it once more, for whoever runs it.
    with contextlib.suppress(KeyboardInterrupt):
        server.run(listeners() or None)
    return 0 if server.started else 1


def options(settings: Settings) -> dict[str, Any]:
    """Return what uvicorn is told in one process and in many."""
    return {
        "limit_concurrency": settings.max_connections,
        "lifespan": "on",
        "ws": "none",
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": math.ceil(settings.shutdown_seconds),
    }


def check_free(host: str, port: int) -> None:
    """See that we can listen somewhere, before servers are started for it.

    Args:
        host: The address, or a name that stands for some.
        port: The port; 0 is always free.

    Raises:
        ConfigError: Somebody else listens there, or we may not.
    """
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    # As asyncio has it: who listens by IPv4 has another port.
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            reason = "is in use" if error.errno == errno.EADDRINUSE else "is only for root"
            raise ConfigError(
                f"port {port} of {host} {reason}; choose another one with --port, or METAMCP_PORT"
            ) from None
        # What else is wrong, it says when it is to listen.


async def reach(settings: Settings) -> None:
    """See that the processes of this gateway can reach each other.

    Raises:
        BusUnavailable: They cannot.
        ConfigError: The settings for it are wrong.
    """
    bus = open_bus(settings.redis_url, settings.redis_prefix)
    await bus.start()
    await bus.aclose()


class GatewayServer(uvicorn.Server):
    """uvicorn's server, which also says what it serves, reloads on SIGHUP, and lets go of streams that never end.

    Args:
        config: uvicorn's configuration.
        gateway: What is served.
        introduces: Whether it says where clients connect to.
        reports: Whether it says what has become of each server.
    """

    def __init__(
        self, config: uvicorn.Config, gateway: Gateway, *, introduces: bool = True, reports: bool = True
    ) -> None:
        super().__init__(config)
        self._gateway = gateway
        self._introduces = introduces
        self._reports = reports
        self._tasks = Tasks()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so."""
        await super().startup(sockets)
        if not self.started:
            return
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGHUP, lambda: self._tasks.start(self._gateway.reload(), "reload")
        )
        if self._introduces:
            notify("READY=1")
            address = self.servers[0].sockets[0].getsockname()
            # A socket of systemd's may be a file.
            port = address[1] if isinstance(address, tuple) else self._gateway.settings.port
            introduce(self._gateway, origin(self._gateway.settings, port))
        if self._reports:
            self._tasks.start(_report(self._gateway), "report the servers")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in good order."""
        await self._tasks.aclose()
        if self._introduces:
            notify("STOPPING=1")
        # uvicorn waits for every response to end, and these end only when asked to.
        self._gateway.close_streams()
        # Just before uvicorn cancels what is left.
        seconds = self.config.timeout_graceful_shutdown or 0
        asyncio.get_running_loop().call_later(seconds, self._gateway.cut_short)
        await super().shutdown(sockets)


def origin(settings: Settings, port: int) -> str:
    """Return the URL at which clients of this machine, or those of ``APP_URL``, find the gateway.

    Args:
        settings: Where it listens.
        port: The port that it has got.
    """
    host = settings.host
    host = f"[{host}]" if ":" in host else {"0.0.0.0": "127.0.0.1"}.get(host, host)  # noqa: S104
    return settings.app_url or f"http://{host}:{port}"


def introduce(gateway: Gateway, base: str) -> None:
    """Print what is served and how clients connect.

    Args:
        gateway: What is served.
        base: Its URL without a slash at its end.
    """
    endpoints = gateway.snapshot.endpoints
    click.echo(f"metamcp serves {gateway.name} on {base}\n")
    for name, endpoint in endpoints.items():
        click.echo(f"  {base}/metamcp/{name}/mcp   {'open to everybody' if endpoint.open else 'asks for an API key'}")
    if not endpoints:
        click.echo("  nothing is published yet; what you publish is served at once")
        if "/" in gateway.sites:
            click.echo(f"  make an endpoint at {base}/ (metamcp users add EMAIL adds a user) or with metamcp endpoints")
        return
    if gateway.settings.stateless:
        click.echo(
            "\n  METAMCP_STATELESS: legacy clients cannot be asked, subscribe or use HTTP+SSE; each process counts "
            "rate limits for itself"
        )
    name, endpoint = next(iter(endpoints.items()))
    url = f"{base}/metamcp/{name}/mcp"
    entry: dict[str, object] = {"type": "http", "url": url}
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
