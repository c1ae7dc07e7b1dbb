"""The gateway inside a FastAPI application, beside its own routes.

    uvicorn --app-dir examples mount_fastapi:app --port 8000

Clients connect to http://127.0.0.1:8000/tools/metamcp/default/mcp. Needs `pip install fastapi`.
"""

import os

from fastapi import FastAPI

from metamcp_asgi import Gateway

gateway = Gateway.from_file(os.environ.get("MCP_CONFIG", "examples/mcp.json"))
app = FastAPI(lifespan=gateway.lifespan)


@app.get("/")
def home() -> dict[str, str]:
    return {"tools": "/tools/metamcp/default/mcp"}


app.mount("/tools", gateway)
