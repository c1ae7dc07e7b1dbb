"""Runs an ASGI application of this folder under uvicorn with the settings of ``metamcp serve``, on a free port.

``python -m bench.serving upstream`` or ``python -m bench.serving nothing FILE``; prints the port.
"""

import socket
import sys
from pathlib import Path

import uvicorn

from bench.nothing import Nothing
from bench.upstream import upstream
from metamcp_asgi.http_server import bounded
from metamcp_asgi.settings import Settings


def main(kind: str, *arguments: str) -> None:
    """Serve until told to stop."""
    app = upstream if kind == "upstream" else Nothing(Path(arguments[0]).read_bytes())
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"port {listener.getsockname()[1]}", flush=True)
    # Everything that metamcp_asgi/serve.py decides about uvicorn, decided in the same way.
    config = uvicorn.Config(
        app,
        http=bounded(Settings().max_header_bytes),
        limit_concurrency=Settings().max_connections,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=2048,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(*sys.argv[1:])
