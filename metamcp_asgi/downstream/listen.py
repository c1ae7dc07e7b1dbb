"""``subscriptions/listen``: a modern client hears of changes of the endpoint's lists and resources (SU-01 to SU-05)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Raw
from starlette.types import Receive, Send

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.longrunning.listening import NOTIFICATION
from metamcp_asgi.downstream.reply import send_message
from metamcp_asgi.downstream.streams import Streams
from metamcp_asgi.downstream.subscriptions import MAX_URI_LENGTH
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol import jsonrpc, meta
from metamcp_asgi.protocol.capabilities import TASKS
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, MISSING_CAPABILITY, Members, RequestId, encode
from metamcp_asgi.protocol.outcome import Failure
from metamcp_asgi.protocol.sse import frame
from metamcp_asgi.upstream.request import CHANGES, Change

__all__ = ["serve_listen"]

MAX_URIS: Final = 256
"""How many resources one stream may be about."""
MAX_TASKS: Final = 64
"""How many tasks one stream may be about."""
SUBSCRIBE_SECONDS: Final = 10.0
"""How long the acknowledgement waits for servers; what they have not confirmed by then is not in it."""

_METHOD_OF: Final = {kind: method for method, kind in CHANGES.items()}


class _Filter(msgspec.Struct, rename="camel"):
    """What a client asks for; what we do not deliver is left out of the answer."""

    tools_list_changed: bool = False
    prompts_list_changed: bool = False
    resources_list_changed: bool = False
    resource_subscriptions: list[str] = []
    task_ids: list[str] = []


async def serve_listen(
    aggregator: Aggregator, streams: Streams, call: Call, request_id: RequestId, receive: Receive, send: Send
) -> None:
    """Serve one listen request until either side ends it.

    Args:
        aggregator: Knows when a list or a resource has changed.
        streams: The open streams.
        call: The request.
        request_id: Its id, which is also the id of the subscription, in the same JSON type.
        receive: The ASGI channel.
        send: The ASGI channel.
    """
    try:
        wanted = _read(call)
        if streams.full(call.endpoint, call.principal):
            raise ProtocolError(INTERNAL_ERROR, "Too many open streams; try again later")
    except ProtocolError as error:
        status = 400 if error.code == MISSING_CAPABILITY else 200
        await send_message(send, status, jsonrpc.error_response(request_id, error.code, error.message, error.data))
        return
    subscription = _Subscription(aggregator, call, wanted, request_id)
    try:
        with streams.reserved(call.endpoint, call.principal):
            honoured = await subscription.begin()
        await streams.serve(
            receive,
            send,
            subscription.listen,
            whose=(call.endpoint, call.principal),
            first=[subscription.event("notifications/subscriptions/acknowledged", notifications=honoured)],
            last=frame(jsonrpc.response(request_id, encode({"resultType": "complete", "_meta": subscription.tag}))),
        )
    finally:
        await subscription.aclose()


class _Subscription:
    """What one stream is about, from before its first event to after its last."""

    __slots__ = ("_aggregator", "_call", "_early", "_early_tasks", "_ends", "_put", "_unfollow", "_wanted", "tag")

    def __init__(self, aggregator: Aggregator, call: Call, wanted: _Filter, request_id: RequestId) -> None:
        self.tag = {meta.SUBSCRIPTION_ID: request_id}
        self._aggregator = aggregator
        self._call = call
        self._wanted = wanted
        self._ends: list[Callable[[], None]] = []
        self._early: list[str] = []
        self._early_tasks: dict[bytes, Members] = {}
        self._unfollow: Callable[[], Awaitable[None]] | None = None
        self._put: Callable[[bytes], None] | None = None

    async def begin(self) -> dict[str, Any]:
        """Subscribe to resources and tasks; return what the client will hear of, the honoured subset of its filter."""
        uris = list(dict.fromkeys(self._wanted.resource_subscriptions))
        async with asyncio.TaskGroup() as group:
            attempts = [group.create_task(self._subscribe(uri)) for uri in uris]
            followed = group.create_task(self._follow())
        kinds = [f"{kind}ListChanged" for kind in _METHOD_OF if getattr(self._wanted, f"{kind}_list_changed")]
        honoured: dict[str, Any] = dict.fromkeys(kinds, True)
        if subscribed := [uri for uri, attempt in zip(uris, attempts, strict=True) if attempt.result()]:
            honoured["resourceSubscriptions"] = subscribed
        if followed.result():
            honoured["taskIds"] = followed.result()
        return honoured

    def listen(self, put: Callable[[bytes], None]) -> Callable[[], None]:
        """Have events put on the stream, which has begun; return what ends that."""
        self._put = put
        # Nothing may come before the acknowledgement (SU-01), so what was early has waited.
        for uri in self._early:
            self._updated(uri)
        for task in self._early_tasks.values():
            self._told(task)
        return self._aggregator.listen(self._call.endpoint, self._call.principal, self._changed)

    async def aclose(self) -> None:
        """Want to hear of no resource and no task any more."""
        while self._ends:
            self._ends.pop()()
        if self._unfollow is not None:
            await self._unfollow()

    def event(self, method: str, **params: Any) -> bytes:
        """Return a notification of this subscription as an event."""
        return frame(jsonrpc.notification(method, encode({**params, "_meta": self.tag})))

    async def _subscribe(self, uri: str) -> bool:
        call = self._call
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                subscribed = await self._aggregator.subscribe(call.endpoint, uri, self._updated, call.principal)
        except (TimeoutError, ProtocolError):
            # The acknowledgement says which are honoured, and has no room for reasons.
            return False
        if isinstance(subscribed, Failure):
            return False
        self._ends.append(subscribed)
        return True

    async def _follow(self) -> list[str]:
        if not self._wanted.task_ids:
            return []
        tokens = list(dict.fromkeys(self._wanted.task_ids))
        try:
            async with asyncio.timeout(SUBSCRIBE_SECONDS):
                followed, self._unfollow = await self._aggregator.follow(self._call, tokens, self._told)
        except TimeoutError:
            return []
        return followed

    def _told(self, task: Members) -> None:
        if self._put is not None:
            self._put(self.event(NOTIFICATION, **task))
        else:
            # Nothing may come before the acknowledgement (SU-01); of what was early, the last word counts.
            self._early_tasks[bytes(task["taskId"])] = task

    def _changed(self, kinds: list[Change]) -> None:
        assert self._put is not None
        for kind in kinds:
            if getattr(self._wanted, f"{kind}_list_changed"):
                self._put(self.event(_METHOD_OF[kind]))

    def _updated(self, uri: str) -> None:
        if self._put is not None:
            self._put(self.event("notifications/resources/updated", uri=uri))
        elif uri not in self._early:
            self._early.append(uri)


def _read(call: Call) -> _Filter:
    """Return the filter of a listen request.

    Raises:
        ProtocolError: It is malformed, or wants what the client did not declare.
    """
    try:
        wanted = msgspec.json.decode(call.params.get("notifications", Raw(b"null")), type=_Filter)
    except msgspec.DecodeError:
        text = "params.notifications must be an object of booleans, and of lists of URIs and task ids"
        raise ProtocolError(INVALID_PARAMS, text) from None
    if len(wanted.resource_subscriptions) > MAX_URIS:
        raise ProtocolError(INVALID_PARAMS, f"resourceSubscriptions has more than {MAX_URIS} URIs")
    if any(len(uri) > MAX_URI_LENGTH for uri in wanted.resource_subscriptions):
        raise ProtocolError(INVALID_PARAMS, f"resourceSubscriptions has a URI of more than {MAX_URI_LENGTH} characters")
    if wanted.task_ids and not call.capabilities.tasks:
        data: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        raise ProtocolError(MISSING_CAPABILITY, f"taskIds needs the extension {TASKS}", data)
    if len(wanted.task_ids) > MAX_TASKS:
        raise ProtocolError(INVALID_PARAMS, f"taskIds has more than {MAX_TASKS} tasks")
    return wanted
