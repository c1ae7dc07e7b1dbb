"""All endpoints of a snapshot at work: servers, catalogues and namespaces, swapped as a whole, and who listens.

The owner of everything below it: ``apply`` a snapshot to start or change, ``aclose`` to end.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias

from metamcp_asgi.aggregate import failures
from metamcp_asgi.aggregate.alone import endpoint_for, namespace_for, with_alone
from metamcp_asgi.aggregate.call import Call
from metamcp_asgi.aggregate.catalogue import Catalogue
from metamcp_asgi.aggregate.dispatch import Ways, answer, dispatch, find
from metamcp_asgi.aggregate.endings import ending_of, ending_with
from metamcp_asgi.aggregate.listeners import Listener, Listeners
from metamcp_asgi.aggregate.middleware.chain import Chain, build
from metamcp_asgi.aggregate.namespace import Running
from metamcp_asgi.aggregate.page import Page, Pager
from metamcp_asgi.aggregate.polling import Polling
from metamcp_asgi.aggregate.published import Route
from metamcp_asgi.aggregate.renewal import Renewal
from metamcp_asgi.aggregate.watches import Watches
from metamcp_asgi.bus.protocol import Bus, Take
from metamcp_asgi.config.snapshot import ANONYMOUS, Endpoint, Namespace, Principal, Snapshot
from metamcp_asgi.errors import ProtocolError
from metamcp_asgi.metrics.sheet import Sheet
from metamcp_asgi.protocol.hops import reading
from metamcp_asgi.protocol.jsonrpc import INVALID_REQUEST, Members
from metamcp_asgi.protocol.outcome import Failure, Outcome
from metamcp_asgi.upstream.interface import Completed, Happening, Server, Updated
from metamcp_asgi.upstream.pool import Pool
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.sharing import Affinity

__all__ = ["Aggregator"]

_Dispatch: TypeAlias = Callable[..., Awaitable[Outcome | Page]]


class Aggregator:
    """Answers the calls of every endpoint.

    Args:
        runtime: What all servers share; closed with the aggregator.
        pager: Cuts lists into pages.
        deadline: Seconds that one server may hold up a list.
        stale_seconds: How long the lists of a lost server are still published.
        idle_seconds: How long an upstream session that is not shared is kept unused.
        poll_seconds: Between two looks at a server that does not tell of changes; ``None`` for none.
        instance: The name of this gateway among others.
        ways: What a call can be beyond one request and its response; closed with the aggregator.
        bus: Leads to the other processes.
        take: Takes from token buckets, for middlewares that count.
        sheet: Where calls are counted.
        around: Makes of what answers calls, ``dispatch``, what does so and more.
    """

    def __init__(
        self,
        runtime: Runtime,
        pager: Pager,
        ways: Ways,
        bus: Bus,
        take: Take,
        *,
        deadline: float,
        stale_seconds: float,
        idle_seconds: float,
        poll_seconds: float | None = None,
        instance: str,
        sheet: Sheet,
        around: Callable[[_Dispatch], _Dispatch],
    ) -> None:
        self.pool = Pool(runtime, self._happened, idle_seconds=idle_seconds)
        self._pager = pager
        self._sheet = sheet
        self._dispatch = around(dispatch)
        self._ways = ways
        self._take = take
        self._answer = partial(answer, ways)
        self._watches = Watches()
        self._deadline = deadline
        self._instance = instance
        self._stale_seconds = stale_seconds
        self.catalogues: dict[str, Catalogue] = {}
        self.over = False
        """Whether calls are cancelled because the process ends: their clients are told, not cut off. A client's own
        cancellation that comes as late as that is answered, too, which it has to expect (CN-02)."""
        self.renewal = Renewal(bus, lambda: self.catalogues)
        self._catalogue_of: dict[Server, Catalogue] = {}
        self._alone: set[str] = set()
        self._namespaces: dict[str, Running] = {}
        self._endpoints: dict[str, tuple[Running, bool]] = {}
        self._listeners = Listeners(self.namespace, deadline)
        self._polling = None if poll_seconds is None else Polling(poll_seconds, self._heard_of)
        self._closing: set[asyncio.Task[None]] = set()

    def apply(self, snapshot: Snapshot) -> None:
        """Serve what the snapshot says; what it leaves unchanged is not disturbed.

        Raises:
            ConfigError: A middleware is unknown or its options are wrong; nothing has changed then.
        """
        alone = self._alone & snapshot.servers.keys()
        snapshot = with_alone(snapshot, alone)
        chains: dict[str, Chain | None] = {}
        for name, config in snapshot.namespaces.items():
            served = self._namespaces.get(name)
            same = served is not None and served.config == config
            chains[name] = served.chain if served is not None and same else build(config, self._answer, self._take)
        self.pool.apply(snapshot.servers)
        old, self.catalogues = self.catalogues, {}
        for name, server in self.pool.servers.items():
            kept = old.get(name)
            if kept is not None and kept.server is server:
                del old[name]
            else:
                kept = Catalogue(server, self._changed, self._stale_seconds)
            self.catalogues[name] = kept
        self._catalogue_of = {catalogue.server: catalogue for catalogue in self.catalogues.values()}
        self._watches.move(self.pool.servers)
        for catalogue in old.values():
            task = asyncio.create_task(catalogue.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        running: dict[str, Running] = {}
        for name, config in snapshot.namespaces.items():
            catalogues = [self.catalogues[server] for server in config.servers if server in self.catalogues]
            kept_namespace = self._namespaces.get(name)
            if kept_namespace is None or (kept_namespace.config, kept_namespace.catalogues) != (config, catalogues):
                if (chain := chains[name]) is not None:
                    chain.changed()
                kept_namespace = self._running(name, config, catalogues, chain)
            running[name] = kept_namespace
        self._namespaces, self._alone = running, alone
        read_for: dict[str, list[str]] = {}
        for name, config in snapshot.namespaces.items():
            for member in config.servers:
                read_for.setdefault(member, []).append(name)
        for name, catalogue in self.catalogues.items():
            catalogue.hops = reading(self._instance, read_for.get(name, ()))
        self._endpoints = {
            name: (running[endpoint.namespace], not endpoint.open) for name, endpoint in snapshot.endpoints.items()
        }
        self._watches.keep(self._publishes)
        self._listeners.changed()

    def alone(self, server: str) -> Endpoint | None:
        """Return an endpoint that publishes one server by itself, which is there from now on.

        Args:
            server: The name by which the snapshot knows it; of a disabled one nothing is published.
        """
        catalogue = self.catalogues.get(server)
        if catalogue is None:
            return None
        endpoint = endpoint_for(server)
        if endpoint.name not in self._endpoints:
            self._alone.add(server)
            running = self._running(endpoint.namespace, namespace_for(server), [catalogue], None)
            self._namespaces[endpoint.namespace] = running
            self._endpoints[endpoint.name] = (running, True)
        return endpoint

    async def call(self, call: Call) -> Outcome | Page:
        """Answer one call.

        Raises:
            ProtocolError: The call itself is wrong.
        """
        served = self._endpoints.get(call.endpoint)
        if served is None:
            raise ProtocolError(INVALID_REQUEST, f"Endpoint {call.endpoint} no longer exists")
        began = time.perf_counter()
        ending = 0
        try:
            outcome = await self._dispatch(call, served[0], self._ways, private=served[1])
            ending = ending_of(call, outcome)
        except BaseException as error:
            ending = ending_with(error)
            if self.over and isinstance(error, asyncio.CancelledError):
                return failures.cut_short(call)
            raise
        else:
            return outcome
        finally:
            key = (call.endpoint, call.server, call.method, call.name)
            self._sheet.count(key, ending, time.perf_counter() - began)

    def namespace(self, endpoint: str) -> Running | None:
        """Return the running namespace behind an endpoint, if that exists."""
        served = self._endpoints.get(endpoint)
        return served[0] if served is not None else None

    def instructions(self, endpoint: str) -> str:
        """Return what a model should know of an endpoint; may be empty."""
        running = self.namespace(endpoint)
        return running.instructions() if running is not None else ""

    def listen(self, endpoint: str, principal: Principal, listener: Listener) -> Callable[[], None]:
        """Have ``listener`` told which kinds of list have changed for a principal on an endpoint.

        Returns:
            What ends that.
        """
        if self._polling is not None:
            self._polling.start()
        return self._listeners.add(endpoint, principal, listener)

    async def subscribe(
        self, endpoint: str, uri: str, listener: Callable[[str], None], principal: Principal = ANONYMOUS
    ) -> Failure | Callable[[], None]:
        """Have ``listener`` told of changes of a resource.

        Args:
            endpoint: Where it is published.
            uri: Its published URI.
            listener: Gets that URI when the resource, or something below it (RE-06), has changed.
            principal: Who wants to know.

        Returns:
            What ends that, or why it cannot be.
        """
        served = self._endpoints.get(endpoint)
        if served is None:
            return Failure(INVALID_REQUEST, f"Endpoint {endpoint} no longer exists")
        found = await find(Call(endpoint, principal, "resources/read", {}, target=uri), served[0])
        if not isinstance(found, Route):
            return failures.not_found(uri)
        return await self._watches.add(endpoint, principal, found, uri, listener)

    async def follow(
        self, call: Call, tokens: Sequence[str], tell: Callable[[Members], None]
    ) -> tuple[list[str], Callable[[], Awaitable[None]]]:
        """Have ``tell`` told how tasks are, whenever that changes.

        Args:
            call: The request of the client that wants to know.
            tokens: The ids of the tasks.
            tell: Gets each task that is different now, as its client is told of it.

        Returns:
            The ids of those tasks that are followed, and what ends that.
        """
        tasks, served = self._ways.tasks, self._endpoints.get(call.endpoint)
        handles = {token: handle for token in tokens if (handle := tasks.opened(call, token)) is not None}
        if served is None or not handles:
            return [], _nothing
        listening = tasks.listening(call, served[0], tell)
        try:
            return await listening.begin(handles), listening.aclose
        except BaseException:
            await listening.aclose()
            raise

    def roots_changed(self, endpoint: str, principal: str | None, session: str) -> None:
        """Tell the servers of an endpoint, as far as they may ask for them, that a client has other roots now.

        Args:
            endpoint: Which the client uses.
            principal: Who it is; ``None`` for a stranger.
            session: Its session.
        """
        served = self._endpoints.get(endpoint)
        for catalogue in served[0].catalogues if served is not None else ():
            catalogue.server.roots_changed(Affinity(principal, session))

    async def aclose(self) -> None:
        """Stop all servers."""
        await self._listeners.aclose()
        await self._ways.tasks.aclose()
        if self._polling is not None:
            await self._polling.aclose()
        await self._ways.interaction.aclose()
        await self._watches.aclose()
        await asyncio.gather(*(catalogue.aclose() for catalogue in self.catalogues.values()), *self._closing)
        await self.pool.aclose()

    def _running(self, name: str, config: Namespace, catalogues: Sequence[Catalogue], chain: Chain | None) -> Running:
        node = f"{self._instance}/{name}"
        return Running(config, catalogues, self._pager, self._deadline, node=node, chain=chain)

    def _publishes(self, endpoint: str, server: Server) -> bool:
        served = self._endpoints.get(endpoint)
        return served is not None and any(catalogue.server is server for catalogue in served[0].catalogues)

    def _heard_of(self) -> Iterator[Catalogue]:
        for endpoint in self._listeners:
            if (running := self.namespace(endpoint)) is not None:
                yield from running.catalogues

    def _happened(self, server: Server, happening: Happening) -> None:
        if isinstance(happening, Updated):
            self._watches.updated(server, happening.uri)
            return
        if isinstance(happening, Completed):
            self._ways.interaction.pages.completed(server.name, happening.elicitation_id)
            return
        # Not by name: two owners may each have a server of one name.
        catalogue = self._catalogue_of.get(server)
        if catalogue is not None:
            catalogue.happened(happening)

    def _changed(self, catalogue: Catalogue) -> None:
        for running in self._namespaces.values():
            if catalogue in running.catalogues:
                running.outdate()
        self._listeners.changed()


async def _nothing() -> None:
    """End what has not begun."""
