"""The OpenAPI bridge: the tools of an endpoint for clients that know REST and no MCP, such as Open WebUI.

``POST {endpoint}/api/{tool}`` takes the arguments as a JSON object, ``GET`` takes them in the query where single values
will do; ``GET {endpoint}/api/openapi.json`` describes both. The calls are those of MCP: same dispatch, same sessions,
same limits; whoever comes here has been admitted and counted by the layers outside.

What is answered is in ``openapi_answers.py``. A client that leaves cancels its call.
"""

import asyncio
import hashlib
from collections.abc import Coroutine
from typing import Any, Final, TypeVar
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct
from starlette.types import Receive, Scope, Send

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.page import Page
from metamcp_asgi.asgi.answers import send_refusal
from metamcp_asgi.config.snapshot import ANONYMOUS, Endpoint, Principal
from metamcp_asgi.downstream.inbound import BodyTooLarge, ClientGone, read_body
from metamcp_asgi.downstream.openapi_answers import Refused, Unprocessable, send_outcome
from metamcp_asgi.downstream.openapi_document import DOCUMENT, Document, describe
from metamcp_asgi.downstream.openapi_interactive import MEDIA_TYPE, Posted, read
from metamcp_asgi.downstream.openapi_query import NeedsBody, WrongParameter, arguments_in
from metamcp_asgi.downstream.prepared import send_prepared
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    encode,
    parse_object,
)
from metamcp_asgi.protocol.outcome import Outcome

__all__ = ["OpenAPI"]

T = TypeVar("T")

_NOT_OURS: Final = (b"cross-site", b"same-site")


class OpenAPI:
    """The ASGI application behind ``/metamcp/{endpoint}/api/...``.

    Args:
        aggregator: The core.
        app_url: Public URL of the gateway; ``None``: the one that a request came to.
        max_body_bytes: The largest body.
        max_header_bytes: The largest headers, all together.
        max_depth: How deep JSON may be nested.
    """

    def __init__(
        self,
        aggregator: Aggregator,
        *,
        app_url: str | None,
        max_body_bytes: int,
        max_header_bytes: int,
        max_depth: int,
    ) -> None:
        self._aggregator = aggregator
        self._app_url = app_url
        self._max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._max_depth = max_depth
        self._described: dict[str, _Described] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > self._max_header_bytes:
            message = f"Request headers are larger than {self._max_header_bytes} bytes"
            await send_refusal(scope, send, 431, {"error": "Request headers too large", "message": message})
            return
        # Clients add "/tool" to a URL that may end with a slash.
        name = scope["metamcp.leaf"].partition("/")[2].lstrip("/")
        method = scope["method"]
        try:
            if name == DOCUMENT and method in ("GET", "HEAD"):
                await self._send_document(scope, send)
            elif method in ("GET", "POST"):
                posted = await (self._queried(name, scope) if method == "GET" else self._posted(scope, receive))
                outcome = await _unless_gone(receive, self._ask(name, posted, scope))
                await send_outcome(scope, send, outcome, interactive=posted.interactive)
            else:
                raise Refused(405, "Method not allowed", "A tool is called with POST or GET", "GET, POST")
        except (Refused, Unprocessable) as refused:
            await refused.send(scope, send)
        except ClientGone:
            # Nobody is there to read an answer.
            return

    async def _ask(self, name: str, posted: Posted, scope: Scope) -> Outcome | Page:
        """Call a tool.

        Raises:
            Refused: The endpoint is gone, or cannot answer.
            Unprocessable: The call is wrong.
        """
        params = {"name": Raw(encode(name)), "arguments": posted.arguments}
        return await self._asked(
            scope, "tools/call", params, target=name, capabilities=posted.capabilities, inputs=posted.inputs
        )

    async def _asked(self, scope: Scope, method: str, params: dict[str, Raw], **more: Any) -> Outcome | Page:
        endpoint: Endpoint = scope["metamcp.endpoint"]
        principal: Principal = scope.get("metamcp.principal", ANONYMOUS)
        try:
            return await self._aggregator.call(Call(endpoint.name, principal, method, params, **more))
        except ProtocolError as error:
            if error.code == INVALID_REQUEST:
                raise Refused(404, "Endpoint not found", error.message) from None
            if error.code == INTERNAL_ERROR:
                raise Refused(502, "Tool execution failed", error.message) from None
            raise Unprocessable(error.message) from None

    async def _posted(self, scope: Scope, receive: Receive) -> Posted:
        """Return the call in a body; none at all stands for no arguments."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            body = await read_body(receive, headers.get(b"content-length"), self._max_body_bytes)
        except BodyTooLarge:
            raise Refused(413, "Body too large", f"The body is larger than {self._max_body_bytes} bytes") from None
        if not body:
            return Posted()
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind not in (b"application/json", MEDIA_TYPE):
            raise Refused(415, "Unsupported media type", "Content-Type must be application/json")
        try:
            members = parse_object(body, self._max_depth)
            return read(members) if kind == MEDIA_TYPE else Posted(Raw(body))
        except ProtocolError as error:
            wrong = {PARSE_ERROR: "json_invalid", INVALID_PARAMS: "value_error"}.get(error.code, "dict_type")
            raise Unprocessable(error.message, kind=wrong) from None

    async def _queried(self, name: str, scope: Scope) -> Posted:
        """Return the arguments in a query string, in the types that the tool declares."""
        endpoint: Endpoint = scope["metamcp.endpoint"]
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if endpoint.open and headers.get(b"sec-fetch-site") in _NOT_OURS and b"origin" not in headers:
            # An image or a link on any page makes such a request, and no Origin tells of it.
            raise Refused(403, "Origin not allowed", "Pages of other sites may call tools with POST only")
        inputs = (await self._document(scope)).inputs
        try:
            return Posted(Raw(encode(arguments_in(scope.get("query_string", b""), inputs.get(name)))))
        except NeedsBody:
            message = "This tool takes arguments that a query cannot hold: send them with POST"
            raise Refused(405, "Method not allowed", message, "POST") from None
        except WrongParameter as error:
            raise Unprocessable(f"{error.name} {error}", ["query", error.name], "parameter") from None

    async def _send_document(self, scope: Scope, send: Send) -> None:
        endpoint: Endpoint = scope["metamcp.endpoint"]
        document = await self._document(scope)
        head = document.head(endpoint.name, self._base(scope))
        # Asked for anew each time, as tools come and go; the entity tag makes that cheap.
        control = b"private, no-cache" if endpoint.api_key_auth else b"public, no-cache"
        headers = [(b"cache-control", control)]
        await send_prepared(scope, send, document.etag(head), headers, b"application/json", head, document.tail)

    async def _document(self, scope: Scope) -> Document:
        """Return the document of what the endpoint lists now."""
        endpoint: Endpoint = scope["metamcp.endpoint"]
        page = await self._page(scope, {})
        known = self._described.get(endpoint.name)
        if known is not None and known.endpoint == endpoint and known.page is page:
            return known.document
        listed = _read(page)
        definitions = listed.tools
        while listed.nextCursor is not None:
            listed = _read(await self._page(scope, {"cursor": Raw(encode(listed.nextCursor))}))
            definitions += listed.tools
        digest = hashlib.sha256(b"\n".join(map(bytes, definitions))).digest()
        if known is not None and known.endpoint == endpoint and known.digest == digest:
            document = known.document
        else:
            # A thousand tools take a tenth of a second, for which calls should not have to wait.
            document = await asyncio.to_thread(describe, endpoint, definitions)
        served = self._aggregator.namespace
        self._described = {name: each for name, each in self._described.items() if served(name) is not None}
        self._described[endpoint.name] = _Described(endpoint, page, digest, document)
        return document

    async def _page(self, scope: Scope, params: dict[str, Raw]) -> Page:
        page = await self._asked(scope, "tools/list", params)
        assert isinstance(page, Page)
        return page

    def _base(self, scope: Scope) -> str:
        """Return the public URL of the leaf ``api``."""
        path, root = scope["path"], scope.get("root_path", "")
        if root and path.startswith(root + "/"):
            path = path[len(root) :]
        path = quote(path.rstrip("/").removesuffix(scope["metamcp.leaf"]) + "api")
        if self._app_url is not None:
            return self._app_url + path
        host = dict(scope["headers"]).get(b"host", b"localhost").decode("latin-1")
        return f"{scope.get('scheme', 'http')}://{host}{quote(root)}{path}"


class _Described(Struct, frozen=True):
    """The last document of an endpoint, and what it was made of."""

    endpoint: Endpoint
    page: Page
    digest: bytes
    document: Document


class _Listed(Struct):
    tools: list[Raw]
    nextCursor: str | None = None  # noqa: N815


def _read(page: Page) -> _Listed:
    # The tail of a page also closes the response around it.
    # Nor is it REST's matter what an older revision of MCP lacks.
    return msgspec.json.decode(page.modern_head() + page.modern_tail[:-1], type=_Listed)


async def _unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, and cancel it if the client leaves.

    Raises:
        ClientGone: It left.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait((working, watching))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
