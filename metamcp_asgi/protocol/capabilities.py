"""What a client lets servers ask it for, in one form for all revisions.

A server may only ask for what was declared to it (MR-03, EL-01). Legacy revisions fix that when a session is opened,
modern ones repeat it on every request; so a session of a legacy server can only be used for calls with one and
the same ``Capabilities``, which is why they are values that can be compared.
"""

from functools import lru_cache
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.protocol.jsonrpc import encode

__all__ = ["MAX_EXTENSION", "NOTHING", "TASKS", "Capabilities", "read"]

TASKS: Final = "io.modelcontextprotocol/tasks"
_PASSED: Final = ("io.modelcontextprotocol/ui", TASKS)
"""The extensions whose terms hold end to end; what concerns one hop only, such as authorization, is not for servers."""
_TASKS: Final = TASKS.encode()
MAX_EXTENSION: Final = 512
"""Bytes of JSON of one extension's settings; larger ones are left out. They travel in the session ids of legacy
clients, and proxies bound headers (eras.md 3.2); servers are told of them with each request of modern ones."""
_KEPT: Final = 4096
_SHORT: Final = 512
"""Bytes of what is kept for the next time; clients choose them, so more would let strangers fill the memory."""


class Capabilities(Struct, frozen=True, array_like=True):
    """The capabilities of a client, as far as servers depend on them.

    ``form`` and ``url`` are the modes of elicitation; ``tools`` and ``context`` are parts of sampling; ``extensions``
    is the JSON of those extensions that pass through a gateway, empty for none; ``roots_change`` says that the client
    tells of changes of its roots, as legacy ones may.
    """

    form: bool = False
    url: bool = False
    sampling: bool = False
    tools: bool = False
    context: bool = False
    roots: bool = False
    extensions: bytes = b""
    roots_change: bool = False

    @property
    def short(self) -> bool:
        """Whether what is made of them may be kept for the next time."""
        return len(self.extensions) <= _SHORT

    @property
    def interactive(self) -> bool:
        """Whether a server may ask the client anything."""
        return self.form or self.url or self.sampling or self.roots

    @property
    def tasks(self) -> bool:
        """Whether the client follows tasks (SEP-2663)."""
        return _TASKS in self.extensions

    def following_tasks(self, follows: bool) -> "Capabilities":
        """Return the same with, or without, the tasks extension."""
        if follows == self.tasks:
            return self
        extensions = msgspec.json.decode(self.extensions or b"{}", type=dict[str, Raw])
        extensions = (
            {**extensions, TASKS: Raw(b"{}")} if follows else {k: v for k, v in extensions.items() if k != TASKS}
        )
        changed = msgspec.structs.replace(self, extensions=encode(extensions) if extensions else b"")
        return NOTHING if changed == NOTHING else changed

    def allow(self, method: str, mode: str = "form") -> bool:
        """Tell whether a request of a server is covered.

        Args:
            method: ``elicitation/create``, ``sampling/createMessage`` or ``roots/list``.
            mode: The mode of an elicitation.
        """
        if method == "elicitation/create":
            return self.url if mode == "url" else self.form and mode == "form"
        return self.sampling if method == "sampling/createMessage" else self.roots and method == "roots/list"

    def json(self, *, legacy: bool = False) -> bytes:
        """Return the ``ClientCapabilities`` object, which is the same in all revisions that know its members.

        Args:
            legacy: Whether it is for a revision in which roots have ``listChanged``.
        """
        return _json(self, legacy) if self.short else _json.__wrapped__(self, legacy)


NOTHING: Final = Capabilities()
"""Those of a client that cannot be asked."""


def read(declared: bytes) -> Capabilities:
    """Return what a ``ClientCapabilities`` object declares.

    Members that are not understood are left out, so a server is never told of them; as are extensions with settings of
    more than ``MAX_EXTENSION`` bytes.

    Args:
        declared: The object as JSON.

    Raises:
        msgspec.ValidationError: It is no object.
    """
    return _read(declared) if len(declared) <= _SHORT else _read.__wrapped__(declared)


@lru_cache(_KEPT)
def _read(declared: bytes) -> Capabilities:
    given = msgspec.json.decode(declared, type=dict[str, Any])
    elicitation, sampling, roots = given.get("elicitation"), given.get("sampling"), given.get("roots")
    modes = elicitation if isinstance(elicitation, dict) else None
    parts = sampling if isinstance(sampling, dict) else {}
    extensions = given.get("extensions")
    found = {name: extensions[name] for name in _PASSED if name in extensions} if isinstance(extensions, dict) else {}
    passed = {name: settings for name, settings in found.items() if len(encode(settings)) <= MAX_EXTENSION}
    told = Capabilities(
        form=modes is not None and (not modes or "form" in modes or "url" not in modes),
        url=modes is not None and "url" in modes,
        sampling=isinstance(sampling, dict),
        tools="tools" in parts,
        context="context" in parts,
        roots=isinstance(roots, dict),
        extensions=encode(passed) if passed else b"",
        roots_change=isinstance(roots, dict) and roots.get("listChanged") is True,
    )
    # One object for the most frequent case, which legs can tell by its identity.
    return NOTHING if told == NOTHING else told


@lru_cache(_KEPT)
def _json(capabilities: Capabilities, legacy: bool) -> bytes:
    told: dict[str, Any] = {}
    if capabilities.form or capabilities.url:
        # An empty object means forms only (EL-01), and revisions that know no modes want it empty.
        told["elicitation"] = {"form": {}, "url": {}} if capabilities.form and capabilities.url else {}
        if capabilities.url and not capabilities.form:
            told["elicitation"] = {"url": {}}
    if capabilities.sampling:
        parts = {"tools": capabilities.tools, "context": capabilities.context}
        told["sampling"] = {part: {} for part, declared in parts.items() if declared}
    if capabilities.roots:
        told["roots"] = {"listChanged": True} if legacy and capabilities.roots_change else {}
    if capabilities.extensions:
        told["extensions"] = Raw(capabilities.extensions)
    return encode(told)
