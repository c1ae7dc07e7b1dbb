"""Single layers of the gateway in front of an application that has nothing to do with MCP.

    uvicorn --app-dir examples layers:app --port 8000
    curl -H 'X-API-Key: sk_mt_example' http://127.0.0.1:8000/

Layers wrap from the inside outwards: a request passes Observe first, then Authenticate, then RateLimit.
"""

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from metamcp_asgi import Authenticate, Observe, RateLimit
from metamcp_asgi.config.snapshot import Key, Principal, digest_of
from metamcp_asgi.config.snapshot import RateLimit as Rate


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    name = scope["metamcp.principal"].name
    await PlainTextResponse(f"Hello, {name}\n")(scope, receive, send)


ada = Key(digest_of("sk_mt_example"), Principal(id="key:ada", kind="key", name="Ada"))

app: ASGIApp = hello
app = RateLimit(app, (Rate(max_rate=5, seconds=10), None))
app = Authenticate(app, {ada.digest: ada})
app = Observe(app, access_log=True)
