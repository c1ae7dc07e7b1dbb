"""Pages that users have to open before a server does what was asked (URL elicitation; eras.md 2.6, 25c specifics).

Reads them out of the error of 2025-11-25, tells of them in words where a client cannot be sent to one, and passes on
that a server has said that its user is through. Which process hears that, and which one has a client that waits for
it, is not known before, so all are told.
"""

import asyncio
import contextlib
import hashlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.bus.protocol import Bus, BusUnavailable
from metamcp_asgi.protocol.jsonrpc import encode
from metamcp_asgi.protocol.outcome import Failure, Outcome, internal, tool_error
from metamcp_asgi.tasks import Tasks

__all__ = ["URL_REQUIRED", "Page", "Pages", "in_words", "pages_of"]

logger = logging.getLogger("metamcp.interaction")

URL_REQUIRED: Final = -32042
"""URLElicitationRequiredError of 2025-11-25: the user has to open a page first, then the call is to be repeated."""
MAX_PAGES: Final = 8
"""How many pages one error may name; more are left out."""
EXPECTED: Final = 4096
"""Of how many pages it is kept who wants to know that the user is through; the oldest are forgotten."""
MAX_OF_ONE: Final = 32
"""How many may want to know of one page: some servers give all their users the same id."""

_TOPIC: Final = "elicitation:complete"


class Page(Struct, rename="camel"):
    """A page, as the error names it."""

    url: str
    message: str = ""
    elicitation_id: str = ""

    @property
    def place(self) -> bytes:
        """What is the same however often a server sends a user there: the URL without its query, as a digest."""
        return _digest(self.url.partition("#")[0].partition("?")[0])


class _Elicitations(Struct):
    elicitations: list[Page]


def pages_of(failure: Failure) -> Sequence[Page]:
    """Return the pages that ``URL_REQUIRED`` names; nobody is sent to what is not a page of the web (SB-07)."""
    try:
        data = failure.data if isinstance(failure.data, Raw) else encode(failure.data)
        pages = msgspec.json.decode(data, type=_Elicitations).elicitations
    except msgspec.DecodeError:
        return ()
    return [page for page in pages if page.url.lower().startswith(("https://", "http://"))][:MAX_PAGES]


def in_words(call: Call, failure: Failure, server: str) -> Outcome:
    """Return what a client is told that cannot be sent to a page, so that its user can open it all the same.

    Args:
        call: The call.
        failure: ``URL_REQUIRED``.
        server: The server's name.
    """
    pages = "; ".join(f"{page.message} {page.url}".strip() for page in pages_of(failure))
    text = f"Server {server!r} needs you to open a page first, then to call again: {pages}"
    if not pages:
        text = f"Server {server!r} needs you to open a page first, but names none that can be opened: {failure.message}"
    return tool_error(text) if call.method == "tools/call" else internal(text)


class Pages:
    """Who wants to know when users are through with pages.

    Args:
        bus: Tells the other processes.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._expected: OrderedDict[bytes, deque[Callable[[], None]]] = OrderedDict()
        self._waiting: dict[bytes, set[asyncio.Event]] = {}
        self._tasks = Tasks()
        bus.subscribe(_TOPIC, self._arrived)

    def expect(self, server: str, elicitation_id: str, through: Callable[[], None] | None = None) -> bytes:
        """Note that a user was sent to a page.

        Args:
            server: Who sent them there.
            elicitation_id: What the server calls that.
            through: Is called, once, when the server says that they are through.

        Returns:
            What to wait for, in any process.
        """
        key = _digest(f"{server}\n{elicitation_id}")
        wanting = self._expected.setdefault(key, deque(maxlen=MAX_OF_ONE))
        self._expected.move_to_end(key)
        if through is not None:
            wanting.append(through)
        if len(self._expected) > EXPECTED:
            self._expected.popitem(last=False)
        return key

    def completed(self, server: str, elicitation_id: str) -> None:
        """Take a server's word that a user is through; of a page that nobody was sent to from here, it is dropped."""
        key = _digest(f"{server}\n{elicitation_id}")
        wanting = self._expected.pop(key, None)
        if wanting is None:
            return
        for through in wanting:
            through()
        if self._bus.alone:
            self._arrived(key)
        else:
            self._tasks.start(self._publish(key), "tell of a page")

    @contextlib.contextmanager
    def waiting(self, event: asyncio.Event) -> Iterator[Callable[[Sequence[bytes]], None]]:
        """Have ``event`` set whenever a user is through with one of the pages that are added, while the context lasts.

        Yields:
            What adds pages, by what ``expect`` has returned.
        """
        added: set[bytes] = set()

        def add(keys: Sequence[bytes]) -> None:
            for key in keys:
                added.add(key)
                self._waiting.setdefault(key, set()).add(event)

        try:
            yield add
        finally:
            for key in added:
                events = self._waiting[key]
                events.discard(event)
                if not events:
                    del self._waiting[key]

    async def aclose(self) -> None:
        """Tell nobody any more."""
        await self._tasks.aclose()

    async def _publish(self, key: bytes) -> None:
        try:
            await self._bus.publish(_TOPIC, key)
        except BusUnavailable as error:
            # Whoever waits asks the server again after a while, anyway.
            logger.debug("Other processes were not told of a page: %s", error)

    def _arrived(self, key: bytes | None) -> None:
        for event in self._waiting.get(key, ()) if key is not None else ():
            event.set()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
