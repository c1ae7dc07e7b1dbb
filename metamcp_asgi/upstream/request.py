"""What is asked of a server, in the server's own names; era-neutral, so that either leg can send it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, ValidationError

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.protocol.capabilities import NOTHING, Capabilities
from metamcp_asgi.protocol.hops import Hops
from metamcp_asgi.protocol.jsonrpc import Members, Message, decode_members
from metamcp_asgi.protocol.outcome import Failure, Outcome

__all__ = [
    "ACKNOWLEDGED",
    "CHANGES",
    "LOGGED",
    "UPDATED",
    "Answer",
    "Ask",
    "Change",
    "Events",
    "Leg",
    "OnEvent",
    "OnLog",
    "OnProgress",
    "Peer",
    "Question",
    "Request",
    "Session",
    "SessionLost",
    "Terms",
    "progress_of",
    "relay",
    "uri_of",
]

OnProgress: TypeAlias = Callable[[Members], None]
"""Gets the members of a progress notification, without its token."""
OnLog: TypeAlias = Callable[[Members], None]
"""Gets the members of a log message (``notifications/message``) that belongs to a request."""
OnEvent: TypeAlias = Callable[[str, Raw | UnsetType], None]
"""Gets method and params of each notification of a stream."""
Change: TypeAlias = Literal["tools", "prompts", "resources"]

CHANGES: Final[dict[str, Change]] = {
    "notifications/tools/list_changed": "tools",
    "notifications/prompts/list_changed": "prompts",
    "notifications/resources/list_changed": "resources",
}
"""The notifications that say that a list has changed."""
UPDATED: Final = "notifications/resources/updated"
LOGGED: Final = "notifications/message"
COMPLETED: Final = "notifications/elicitation/complete"

ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
"""Opens a listen stream. On every stream but the first it means that changes may have been missed before."""


class Events(Protocol):
    """Who wants to know what happens on a session outside of its requests."""

    def changed(self, kind: Change) -> None:
        """A list of the server has changed, or may have while nobody listened."""

    def updated(self, uri: str) -> None:
        """A resource has changed that was subscribed to, or something below it (RE-06)."""

    def completed(self, elicitation_id: str) -> None:
        """A user is through with the page to which the server has sent them under this id (2025-11-25)."""

    def lost(self, reason: str) -> None:
        """The session is over; requests in flight have failed with the same reason."""


class Question(Struct, gc=False):
    """What a legacy server asks the client in the middle of a request: its method, and its params as JSON."""

    method: str
    params: Raw = Raw(b"{}")


class Answer(Struct, gc=False):
    """The client's answer to a question: a result as JSON, or a failure; ``ours`` says that no client has said so."""

    result: Raw | None = None
    failure: Failure | None = None
    ours: bool = False


Ask: TypeAlias = Callable[[Question], Awaitable[Answer]]
"""Has a question answered; cancelled when the server no longer wants to know."""


class Request(Struct, gc=False):
    """One request to a server.

    ``params`` has no ``_meta``; ``meta`` only what is meant for the server (``meta.end_to_end``). ``name`` is the
    tool, prompt or URI that a modern request mirrors in ``Mcp-Name``; ``param_headers`` are its ``Mcp-Param-*`` lines.
    ``trace`` are header lines that say what ``meta`` says of the trace that the request is part of.
    ``hops`` are the gateways that it comes through, ourselves included.

    ``capabilities`` are what the server may ask for during this request: a modern server answers with
    ``InputRequired`` then, a legacy one asks, which ``ask`` has answered. ``on_log`` gets the log messages that
    certainly belong to the request, from ``log_level`` upwards; without a level, those that a legacy server
    sends unasked, and none of a modern one (LO-01, LO-02). ``on_event`` gets method and params of what a modern server
    tells on the stream that the request opens, a ``subscriptions/listen``, which lasts until either side ends it.
    """

    method: str
    params: Members
    meta: Members = {}
    name: str | None = None
    param_headers: bytes = b""
    on_progress: OnProgress | None = None
    hops: Hops | None = None
    capabilities: Capabilities = NOTHING
    ask: Ask | None = None
    log_level: str | None = None
    on_log: OnLog | None = None
    trace: bytes = b""
    on_event: OnEvent | None = None


class Peer(Struct, frozen=True):
    """What a server said of itself when the connection was opened."""

    era: Literal["modern", "legacy"]
    revision: str
    capabilities: dict[str, Any] = {}
    server_info: dict[str, Any] = {}
    instructions: str = ""

    def changes(self) -> list[Change]:
        """Return the kinds of list of which the server announces changes."""
        kinds: tuple[Change, ...] = ("tools", "prompts", "resources")
        return [kind for kind in kinds if self._declares(kind, "listChanged")]

    @property
    def subscribable(self) -> bool:
        """Whether the server tells of updates of single resources."""
        return self._declares("resources", "subscribe")

    def _declares(self, kind: str, member: str) -> bool:
        capability = self.capabilities.get(kind)
        return isinstance(capability, dict) and capability.get(member) is True


class SessionLost(UpstreamUnavailable):
    """The server no longer knows the session, so it has not executed the request: a new session may replay it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class Terms(Struct, frozen=True):
    """On which terms a session is opened.

    ``capabilities`` are declared to a legacy server (a modern one is told with each request). ``private`` says that
    all requests of the session are on behalf of one and the same caller; ``user`` is whose own grant it uses, where
    a server knows each user.
    """

    capabilities: Capabilities = NOTHING
    private: bool = False
    user: str | None = None


class Leg(Protocol):
    """How one era writes a request and reads its response."""

    def params(self, request: Request, token: int) -> bytes:
        """Return the request's params in bytes; ``token`` is the progress token, used where progress is wanted."""

    def outcome(self, message: Message, request: Request) -> Outcome:
        """Return what the response to a request says."""


class Session(Protocol):
    """One usable connection to a server, whatever its transport."""

    peer: Peer
    correlates: bool
    """Whether what a server says or asks in the course of a request comes on a stream of that request."""

    @property
    def listening(self) -> bool:
        """Whether a stream is open on which the server can tell of changes."""

    async def send(self, request: Request) -> Outcome:
        """Send a request and return its outcome.

        Cancelling it cancels the request upstream.

        Raises:
            UpstreamError: The server could not be asked, or what it said is not MCP.
        """

    async def watch(self, uris: frozenset[str]) -> Mapping[str, Failure]:
        """Be told of updates of exactly these resources.

        Returns:
            Those that the server refuses, and why.

        Raises:
            UpstreamError: The server could not be asked.
        """

    def roots_changed(self) -> None:
        """Tell the server that it may ask for other roots than before, if it may ask for them at all."""

    async def aclose(self) -> None:
        """End the session at the server, too."""


def progress_of(params: Raw | UnsetType) -> tuple[int | None, Members]:
    """Return the token and the other members of a progress notification; a token that is no integer is not ours."""
    try:
        members = decode_members(params) if params is not UNSET else {}
    except ValidationError:
        return None, {}
    token = bytes(members.pop("progressToken", b""))
    return (int(token) if token.isdigit() else None), members


def relay(events: Events, method: str, params: Raw | UnsetType) -> None:
    """Tell of a notification that belongs to no request; one of a kind that nobody wants to know of is dropped."""
    if (kind := CHANGES.get(method)) is not None:
        events.changed(kind)
    elif method == UPDATED and (uri := uri_of(params)) is not None:
        events.updated(uri)
    elif method == COMPLETED and (elicitation_id := _elicitation_of(params)):
        events.completed(elicitation_id)


def uri_of(params: Raw | UnsetType) -> str | None:
    """Return the URI that ``notifications/resources/updated`` is about; ``None`` when it is malformed."""
    try:
        return msgspec.json.decode(b"" if params is UNSET else params, type=_Updated).uri
    except msgspec.DecodeError:
        return None


def _elicitation_of(params: Raw | UnsetType) -> str:
    try:
        return msgspec.json.decode(b"" if params is UNSET else params, type=_Completed).elicitationId
    except msgspec.DecodeError:
        return ""


class _Updated(Struct):
    uri: str


class _Completed(Struct):
    elicitationId: str  # noqa: N815
