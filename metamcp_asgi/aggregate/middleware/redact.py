"""``redact``: takes secrets out of what servers answer, by patterns: ours for common kinds, and the operator's own.

Texts and strings are looked at wherever they are in a result; Base64 (images, blobs) is not. The time is bounded: a
pattern whose time is not is refused when it is configured, and a text too long to be looked at is taken out as a whole.
"""

import re
from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from metamcp_asgi.aggregate.middleware.patterns import UNBOUNDED, work
from metamcp_asgi.aggregate.middleware.protocol import (
    AnyResult,
    Next,
    PromptCall,
    PromptResult,
    ResourceCall,
    ResourceResult,
    ToolCall,
    ToolResult,
)
from metamcp_asgi.aggregate.middleware.signals import CallFailed
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.protocol.jsonrpc import encode

__all__ = ["BUILT_IN", "Redact"]

BUILT_IN: Final[dict[str, str]] = {
    "private key": r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,-]{0,20000}",
    "AWS key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{60,255})",
    "GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,64}",
    "Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,250}",
    "Google key": r"\bAIza[0-9A-Za-z_-]{35}",
    "Stripe key": r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,250}",
    "API key": r"\bsk-[A-Za-z0-9_-]{20,250}",
    "MetaMCP key": r"\bsk_mt_[A-Za-z0-9_-]{16,250}",
    "JSON Web Token": r"\beyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{0,1000}",
    "password in a URL": r"(?<=://)[^\s/:@\"']{1,100}:[^\s/@\"']{1,200}(?=@)",
}
"""The secrets that are known, by kind. Each begins with a literal, or is bounded, so that its time is linear."""

MOST_WORK: Final = 1000
"""How many ways an operator's pattern may have to match at one place."""
_BASE64: Final = frozenset({"data", "blob"})
_DEEPEST: Final = 200


class RedactOptions(Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """What can be configured.

    ``built_in`` switches our patterns, ``patterns`` are further ones. ``replacement`` stands for what is taken out.
    ``max_text`` is the longest text, in characters, that is looked at with the further ones.
    """

    built_in: bool = True
    patterns: Sequence[str] = ()
    replacement: str = "[redacted]"
    max_text: Annotated[int, Meta(ge=1000)] = 262_144


class Redact:
    """Takes secrets out of results.

    Args:
        options: What is configured.

    Raises:
        ConfigError: A pattern is none, or may take too long.
    """

    Options = RedactOptions

    def __init__(self, options: RedactOptions) -> None:
        self._replacement = options.replacement
        self._max_text = options.max_text
        self._known = [re.compile(pattern) for pattern in BUILT_IN.values()] if options.built_in else []
        self._own = [_compiled(pattern, index) for index, pattern in enumerate(options.patterns)]

    async def call_tool(self, call: ToolCall, next: Next[ToolCall, ToolResult]) -> AnyResult:  # noqa: A002
        """Take secrets out of a tool's result."""
        return await self._clean(next(call))

    async def get_prompt(self, call: PromptCall, next: Next[PromptCall, PromptResult]) -> AnyResult:  # noqa: A002
        """Take secrets out of a prompt."""
        return await self._clean(next(call))

    async def read_resource(
        self,
        call: ResourceCall,
        next: Next[ResourceCall, ResourceResult],  # noqa: A002
    ) -> AnyResult:
        """Take secrets out of a resource."""
        return await self._clean(next(call))

    def text(self, text: str) -> str:
        """Return a text without secrets."""
        if self._own and len(text) > self._max_text:
            return f"{self._replacement} (a text of {len(text)} characters, too long to be looked at)"
        for pattern in self._known:
            text = pattern.sub(self._put, text)
        for pattern in self._own:
            text = pattern.sub(self._put, text)
        return text

    def _put(self, _: re.Match[str]) -> str:
        # By a function, because in a text a backslash would have a meaning.
        return self._replacement

    async def _clean(self, answer: Awaitable[AnyResult]) -> AnyResult:
        try:
            return self._redacted(await answer)
        except CallFailed as failed:
            failure = failed.failure
            data = msgspec.json.decode(encode(failure.data))  # some of it may still be bytes
            message, data = self.text(failure.message), self._value(data, 0)
            raise CallFailed(msgspec.structs.replace(failure, message=message, data=data)) from None

    def _redacted(self, result: AnyResult) -> AnyResult:
        for member in list(result.members):
            before = result.get(member)
            after = self._value(before, 0)
            if after != before:
                result.set(**{member: after})
        return result

    def _value(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            return self._replacement
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._value(item, depth + 1) for item in value]
        if isinstance(value, dict):
            encoded = value.get("type") in ("image", "audio") or "blob" in value
            return {
                self.text(name): item
                if encoded and name in _BASE64 and isinstance(item, str)
                else self._value(item, depth + 1)
                for name, item in value.items()
            }
        return value


def _compiled(pattern: str, index: int) -> re.Pattern[str]:
    place = f"patterns[{index}]"
    try:
        ways = work(pattern)
    except ValueError as error:
        raise ConfigError(str(error), path=place) from None
    if ways >= UNBOUNDED:
        raise ConfigError("has a repeat without an end; write one, such as {1,200} in place of +", path=place)
    if ways > MOST_WORK:
        reason = f"can match in {ways} ways at each place, and {MOST_WORK} are the most allowed; narrow its repeats"
        raise ConfigError(reason, path=place)
    compiled = re.compile(pattern)
    if compiled.fullmatch(""):
        raise ConfigError("matches the empty text", path=place)
    return compiled
