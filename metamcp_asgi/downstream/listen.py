"""``subscriptions/listen``: a modern client hears of changes of the endpoint's lists (SU-01, SU-02, SU-04)."""

from collections.abc import Callable

import msgspec
from msgspec import Raw
from starlette.types import Receive, Send

from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.downstream.reply import send_message
from metamcp_asgi.downstream.streams import Streams
from metamcp_asgi.protocol import jsonrpc, meta
from metamcp_asgi.protocol.jsonrpc import INTERNAL_ERROR, INVALID_PARAMS, RequestId, encode
from metamcp_asgi.protocol.sse import frame
from metamcp_asgi.upstream.request import CHANGES, Change

__all__ = ["serve_listen"]

_METHOD_OF = {kind: method for method, kind in CHANGES.items()}


class _Filter(msgspec.Struct, rename="camel", omit_defaults=True):
    """The kinds of notification that a client asks for; what we do not deliver is left out of the answer."""

    tools_list_changed: bool = False
    prompts_list_changed: bool = False
    resources_list_changed: bool = False


async def serve_listen(
    aggregator: Aggregator, streams: Streams, call: Call, request_id: RequestId, receive: Receive, send: Send
) -> None:
    """Serve one listen request until either side ends it.

    Args:
        aggregator: Knows when a list has changed.
        streams: The open streams.
        call: The request.
        request_id: Its id, which is also the id of the subscription, in the same JSON type.
        receive: The ASGI channel.
        send: The ASGI channel.
    """
    try:
        wanted = msgspec.json.decode(call.params.get("notifications", Raw(b"null")), type=_Filter)
    except msgspec.DecodeError:
        error = jsonrpc.error_response(request_id, INVALID_PARAMS, "params.notifications must be an object of booleans")
        await send_message(send, 200, error)
        return
    if streams.full:
        error = jsonrpc.error_response(request_id, INTERNAL_ERROR, "Too many open streams; try again later")
        await send_message(send, 200, error)
        return
    tag = {meta.SUBSCRIPTION_ID: request_id}
    honoured = {"notifications": wanted, "_meta": tag}

    def told(kinds: list[Change], put: Callable[[bytes], None]) -> None:
        for kind in kinds:
            if getattr(wanted, f"{kind}_list_changed"):
                put(frame(jsonrpc.notification(_METHOD_OF[kind], encode({"_meta": tag}))))

    await streams.serve(
        receive,
        send,
        lambda put: aggregator.listen(call.endpoint, lambda kinds: told(kinds, put)),
        whose=(call.endpoint, call.principal),
        first=[frame(jsonrpc.notification("notifications/subscriptions/acknowledged", encode(honoured)))],
        last=frame(jsonrpc.response(request_id, encode({"resultType": "complete", "_meta": tag}))),
    )
