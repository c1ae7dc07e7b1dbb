"""What middlewares see of a call and of its result. Payloads are decoded when somebody looks, and stay bytes otherwise.

What is decoded is for reading: to change it, assign it. Nothing here knows how calls are sent or composed.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Raw

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.config.snapshot import Namespace, Principal, ToolOverride
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.protocol.jsonrpc import INVALID_PARAMS, Members, encode
from metamcp_asgi.protocol.outcome import Outcome, Result, tool_error

__all__ = [
    "AnyCall",
    "AnyResult",
    "Next",
    "PromptCall",
    "PromptResult",
    "ResourceCall",
    "ResourceResult",
    "ToolCall",
    "ToolResult",
]

_NO_ARGUMENTS = Raw(b"{}")
_AS_IS = ToolOverride()

CallT = TypeVar("CallT")
ResultT = TypeVar("ResultT")
Next: TypeAlias = Callable[[CallT], Awaitable[ResultT]]
"""Passes a call on and returns its result.

Raises:
    CallFailed: The server answered with a JSON-RPC error.
    UpstreamError: The server could not be asked, or did not answer in time.
    ProtocolError: The call itself is wrong.
"""


class AnyResult:
    """A result, in the server's own bytes until a member of it is assigned."""

    __slots__ = ("_decoded", "_members", "_result")

    def __init__(self, result: Result) -> None:
        self._result = result
        self._members: Members | None = None
        self._decoded: dict[str, Any] = {}

    @property
    def result(self) -> Result:
        """The result as it stands now."""
        return self._result

    @property
    def members(self) -> Members:
        """The members of the result object, each in its own bytes."""
        if self._members is None:
            self._members = self._result.split()
        return self._members

    @property
    def size(self) -> int:
        """About how many bytes the result has; nothing is decoded to know it."""
        if self._result.members is None:
            return len(self._result.raw)
        return sum(len(name) + len(value) + 4 for name, value in self._result.members.items())

    def get(self, member: str, default: Any = None) -> Any:
        """Return a decoded member."""
        if member not in self._decoded:
            if (raw := self.members.get(member)) is None:
                return default
            self._decoded[member] = msgspec.json.decode(raw)
        return self._decoded[member]

    def set(self, **members: Any) -> None:
        """Replace members; ``None`` takes one away."""
        changed = dict(self.members)
        for member, value in members.items():
            self._decoded.pop(member, None)
            if value is None:
                changed.pop(member, None)
            else:
                changed[member] = Raw(encode(value))
        self._members = changed
        self._result = Result(b"", changed, self._result.cause)


class ToolResult(AnyResult):
    """The result of a tool call."""

    __slots__ = ()

    @classmethod
    def error(cls, text: str) -> "ToolResult":
        """Return a result that tells the model what went wrong."""
        return cls(tool_error(text))

    @property
    def content(self) -> list[dict[str, Any]]:
        """The content blocks."""
        content = self.get("content", [])
        return content if isinstance(content, list) else []

    @content.setter
    def content(self, content: list[dict[str, Any]]) -> None:
        self.set(content=content)

    @property
    def structured(self) -> Any:
        """``structuredContent``, or ``None`` when there is none."""
        return self.get("structuredContent")

    @structured.setter
    def structured(self, structured: Any) -> None:
        self.set(structuredContent=structured)

    @property
    def is_error(self) -> bool:
        """Whether the tool says that it failed."""
        return bytes(self.members.get("isError", b"")) == b"true"


class PromptResult(AnyResult):
    """A prompt's messages."""

    __slots__ = ()

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages."""
        messages = self.get("messages", [])
        return messages if isinstance(messages, list) else []

    @messages.setter
    def messages(self, messages: list[dict[str, Any]]) -> None:
        self.set(messages=messages)


class ResourceResult(AnyResult):
    """The contents of a resource."""

    __slots__ = ()

    @property
    def contents(self) -> list[dict[str, Any]]:
        """The contents."""
        contents = self.get("contents", [])
        return contents if isinstance(contents, list) else []

    @contents.setter
    def contents(self, contents: list[dict[str, Any]]) -> None:
        self.set(contents=contents)

    @property
    def ttl_ms(self) -> float:
        """How many milliseconds it may be kept; 0 where the server does not say (CA-04)."""
        ttl = self.get("ttlMs", 0)
        return ttl if isinstance(ttl, int | float) and ttl > 0 else 0

    @property
    def scope(self) -> Literal["public", "private"]:
        """Who may share it; ``private`` where the server does not say (CA-08)."""
        return "public" if self.get("cacheScope") == "public" else "private"


class AnyCall:
    """What all calls have. Made for one call; middlewares pass it on, changed or not.

    ``route`` is ``None`` when nothing answers to the name, or what does is switched off: ``instead`` says so, and
    will be the result.
    """

    __slots__ = ("_arguments", "_config", "_raw_arguments", "core", "instead", "route")

    result_type: ClassVar[type[AnyResult]]

    def __init__(self, core: Call, found: Route | Outcome, config: Namespace) -> None:
        self.core = core
        self.route = found if isinstance(found, Route) else None
        self.instead = None if isinstance(found, Route) else found
        self._config = config
        self._raw_arguments = core.params.get("arguments", _NO_ARGUMENTS)
        self._arguments: dict[str, Any] | None = None

    @property
    def method(self) -> str:
        """The MCP method."""
        return self.core.method

    @property
    def principal(self) -> Principal:
        """Who calls."""
        return self.core.principal

    @property
    def endpoint(self) -> str:
        """The endpoint that was called."""
        return self.core.endpoint

    @property
    def namespace(self) -> str:
        """The namespace behind the endpoint."""
        return self._config.name

    @property
    def server(self) -> str:
        """The server that will be asked; empty when there is none."""
        return self.route.server.name if self.route is not None else ""

    @property
    def own_name(self) -> str:
        """The name or URI at the server; empty when there is none."""
        return self.route.key if self.route is not None else ""


ToolOrPrompt = TypeVar("ToolOrPrompt", bound=AnyResult)


class _WithArguments(AnyCall, Generic[ToolOrPrompt]):
    __slots__ = ()

    @property
    def name(self) -> str:
        """The name that the client used."""
        return self.core.target

    @property
    def raw_arguments(self) -> Raw:
        """The arguments as JSON."""
        return self._raw_arguments

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments; assign others to have the server get those, in its headers, too (T-31, T-45).

        Raises:
            ProtocolError: They are no object, or name a member twice, which the server might read differently.
        """
        if self._arguments is None:
            self._arguments = _decoded(self._raw_arguments)
        return self._arguments

    @arguments.setter
    def arguments(self, arguments: Mapping[str, Any]) -> None:
        self._raw_arguments = raw = Raw(encode(arguments))
        self._arguments = None
        self.core = msgspec.structs.replace(
            self.core, params={**self.core.params, "arguments": raw}, arguments_rewritten=True
        )


class ToolCall(_WithArguments[ToolResult]):
    """A call of a tool."""

    __slots__ = ()

    result_type = ToolResult

    @property
    def definition(self) -> Members:
        """The server's definition of the tool, each member in its own bytes; empty when there is none."""
        entry = self.route.catalogue.find_tool(self.route.key) if self.route is not None else None
        return entry.members if entry is not None else {}

    @property
    def annotations(self) -> dict[str, Any]:
        """The tool's annotations with those of the namespace over them. The server's own are what it claims."""
        raw = self.definition.get("annotations")
        own = msgspec.json.decode(raw) if raw is not None else {}
        override = self._config.tools.get((self.server, self.own_name), _AS_IS)
        return {**(own if isinstance(own, dict) else {}), **(override.annotations or {})}


class PromptCall(_WithArguments[PromptResult]):
    """A request for a prompt."""

    __slots__ = ()

    result_type = PromptResult


class ResourceCall(AnyCall):
    """A request to read a resource."""

    __slots__ = ()

    result_type = ResourceResult

    @property
    def uri(self) -> str:
        """The URI, as the endpoint publishes it."""
        return self.core.target


def _decoded(raw: Raw) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode(raw)
        if not isinstance(arguments, dict):
            raise ProtocolError(INVALID_PARAMS, "params.arguments must be an object")
        # What is as short as it can be written has no member twice, and most clients write it so.
        if len(encode(arguments)) != len(raw):
            json.loads(bytes(raw), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(INVALID_PARAMS, f"params.arguments: {error}") from None
    return arguments


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names the same member twice")
    return members
