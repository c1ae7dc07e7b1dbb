"""The gateway under gunicorn.

With the gateway's own worker class, which serves as `metamcp serve` does (`pip install 'metamcp-asgi[workers]'`):

    gunicorn --chdir examples --worker-class metamcp_asgi.worker.GatewayWorker --bind 127.0.0.1:8000 gunicorn_app:app

`--worker-class asgi`, gunicorn's own of version 25 and later, and `uvicorn_worker.UvicornWorker` work as well.

Clients connect to http://127.0.0.1:8000/metamcp/default/mcp. More than one worker (`--workers 2`) needs
METAMCP_REDIS_URL and METAMCP_SECRET_KEYS, so that the workers reach each other and read the session ids and cursors of
the others; each starts the stdio servers for itself, unless METAMCP_STDIO_SOCKET names a `metamcp-stdio`: see
docs/workers.md.
"""

import os
from pathlib import Path

from metamcp_asgi import Gateway

app = Gateway.from_file(os.environ.get("MCP_CONFIG", Path(__file__).parent / "mcp.json"))
