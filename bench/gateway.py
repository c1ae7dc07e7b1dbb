"""The processes that are measured: the gateway with a configuration, and what stands beside it."""

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench import client
from bench.programs import LOAD_CORE, ROOT, BenchError, Program, free_port, program, python, running

__all__ = [
    "KEY",
    "LIMITS",
    "Served",
    "await_tools",
    "database",
    "gateway",
    "listed",
    "nginx",
    "nothing",
    "stdio",
    "upstream",
]

KEY = "sk_mt_bench_0123456789abcdef"
LIMITS = {
    "rateLimit": {"maxRate": 1_000_000_000, "maxRateSeconds": 60},
    "clientRateLimit": {"maxRate": 1_000_000_000, "maxRateSeconds": 60, "strategy": "ip"},
}
"""Both limits at work, and never reached."""

Served = tuple[Program, int]
"""A process and its port."""


@contextlib.contextmanager
def gateway(
    served: Mapping[str, Any] | str,
    folder: Path,
    *,
    core: int | None = None,
    env: Mapping[str, str] | None = None,
    under: Sequence[str] = (),
) -> Iterator[Served]:
    """Run ``metamcp serve`` for the length of a ``with`` block.

    Args:
        served: The content of its configuration file, or the URL of its database.
        folder: Where the file is written.
        core: The core that it is bound to.
        env: Settings.
        under: The beginning of a command that runs the rest of it.
    """
    what = ["--database", served] if isinstance(served, str) else [_written(served, folder)]
    runs = [*under, *python("metamcp_asgi")] if under else _metamcp()
    command = [*runs, "serve", *what, "--port", "0", "--log-level", "error"]
    with running(command, folder, core=core, env=env) as process:
        line = process.line("metamcp serves")
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found is None:
            raise BenchError(f"the gateway does not say where it listens: {line}")
        yield process, int(found[1])


def database(config: Mapping[str, Any], folder: Path) -> str:
    """Return the URL of a new SQLite database with a configuration in it."""
    home = folder / f"store-{time.monotonic_ns()}"
    home.mkdir()
    url = f"sqlite:///{home / 'metamcp.db'}"
    command = [*_metamcp(), "apply", _written(config, folder), "--database", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    if done.returncode != 0:
        raise BenchError(f"metamcp apply failed: {done.stderr[-2000:]}")
    return url


def _metamcp() -> list[str]:
    command = Path(sys.executable).with_name("metamcp")
    return [str(command)] if command.exists() else python("metamcp_asgi")


def _written(config: Mapping[str, Any], folder: Path) -> str:
    path = folder / f"config-{time.monotonic_ns()}.json"
    path.write_text(json.dumps(config))
    return str(path)


@contextlib.contextmanager
def upstream(folder: Path, *, core: int = LOAD_CORE) -> Iterator[Served]:
    """Run the bare MCP server."""
    with running(python("bench.serving", "upstream"), folder, core=core) as process:
        yield process, int(process.line("port ").split()[1])


@contextlib.contextmanager
def nothing(body: bytes, folder: Path, *, core: int, under: Sequence[str] = ()) -> Iterator[Served]:
    """Run the application that does nothing but answer ``body``."""
    path = folder / f"body-{time.monotonic_ns()}"
    path.write_bytes(body)
    with running([*under, *python("bench.serving", "nothing", str(path))], folder, core=core) as process:
        yield process, int(process.line("port ").split()[1])


@contextlib.contextmanager
def nginx(target: int, folder: Path, *, core: int) -> Iterator[Served]:
    """Run a private nginx of one process that passes everything on to a port, over connections that it keeps."""
    home = folder / f"nginx-{target}"
    home.mkdir()
    port = free_port()
    places = "".join(
        f"{kind}_temp_path {home}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (home / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {home}/pid; error_log stderr error;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; {places} keepalive_requests 1000000000;\n"
        f"upstream bench {{ server 127.0.0.1:{target}; keepalive 64; keepalive_requests 1000000000; }}\n"
        f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://bench;\n"
        'proxy_http_version 1.1; proxy_set_header Connection ""; } } }\n'
    )
    command = [program("nginx", "nginx-light"), "-e", "stderr", "-p", str(home), "-c", str(home / "nginx.conf")]
    with running(command, folder, core=core) as process:
        for _ in range(100):
            process.check()
            with contextlib.suppress(ConnectionRefusedError):
                client.request(port, "/modern/1", "tools/list")
                break
            time.sleep(0.05)
        yield process, port


def stdio(count: int) -> dict[str, Any]:
    """Return the configuration of the bare server on stdio, which runs beside the load and not on our core."""
    command = [program("taskset", "util-linux"), "-c", str(LOAD_CORE), *python("bench.stdio_server", str(count))]
    return {"command": command[0], "args": command[1:], "cwd": str(ROOT)}


def listed(port: int, path: str, *, key: str | None = None) -> list[str]:
    """Return the names of all tools of an endpoint, page by page."""
    names: list[str] = []
    cursor: str | None = None
    while True:
        result = msgspec.json.decode(client.request(port, path, "tools/list", key=key, cursor=cursor))["result"]
        names += [tool["name"] for tool in result["tools"]]
        cursor = result.get("nextCursor")
        if cursor is None:
            return names


def await_tools(port: int, path: str, names: Sequence[str], *, key: str | None = None, seconds: float = 60) -> None:
    """Wait until an endpoint publishes exactly these tools.

    Raises:
        BenchError: It does not within that time.
    """
    end = time.monotonic() + seconds
    while (found := listed(port, path, key=key)) != list(names):
        if time.monotonic() > end:
            raise BenchError(f"{path} lists {len(found)} tools, not the {len(names)} expected: {found[:3]} ...")
        time.sleep(0.1)
