"""The gateway under gunicorn.

With gunicorn's own ASGI worker (gunicorn 25 and later, nothing else to install):

    gunicorn --chdir examples --worker-class asgi --bind 127.0.0.1:8000 gunicorn_app:app

With uvicorn's worker (`pip install uvicorn-worker`; `uvicorn.workers` is no longer part of uvicorn):

    gunicorn --chdir examples --worker-class uvicorn_worker.UvicornWorker --bind 127.0.0.1:8000 gunicorn_app:app

Clients connect to http://127.0.0.1:8000/metamcp/default/mcp. With more than one worker, set METAMCP_SECRET_KEYS, so
that each of them reads the session ids and cursors of the others; each worker starts the stdio servers for itself.
"""

import os
from pathlib import Path

from metamcp_asgi import Gateway

app = Gateway.from_file(os.environ.get("MCP_CONFIG", Path(__file__).parent / "mcp.json"))
