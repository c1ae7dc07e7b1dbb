"""How a session with a server is opened: over its transport, in the era that it was found to be of."""

from metamcp_asgi.config import snapshot
from metamcp_asgi.errors import UpstreamError
from metamcp_asgi.upstream.http_probe import open_http
from metamcp_asgi.upstream.request import Events, Session, Terms
from metamcp_asgi.upstream.runtime import Runtime
from metamcp_asgi.upstream.spare import Spare
from metamcp_asgi.upstream.sse import open_sse
from metamcp_asgi.upstream.stdio import open_stdio

__all__ = ["Opening"]


class Opening:
    """Opens the sessions of one server.

    Args:
        config: Its configuration.
        runtime: What the process shares.
        idle_seconds: How long a process that was started ahead is kept unused.
    """

    def __init__(self, config: snapshot.Server, runtime: Runtime, idle_seconds: float) -> None:
        self._config = config
        self._runtime = runtime
        self._era: str = config.era
        stdio = config.type == "stdio"
        self._spare = Spare(config, runtime, idle_seconds) if stdio and runtime.warm_spares else None

    async def session(self, events: Events, terms: Terms) -> Session:
        """Open a session.

        Args:
            events: Gets what happens outside of requests.
            terms: On which terms it is opened.

        Raises:
            UpstreamError: It cannot be opened.
        """
        try:
            session = await self._open_as(self._era, events, terms)
        except UpstreamError:
            if self._era == self._config.era:
                raise
            # The server may have been replaced by one of another era (V-08).
            self.forget_era()
            session = await self._open_as(self._era, events, terms)
        if self._config.era == "auto":
            self._era = session.peer.era
        return session

    def forget_era(self) -> None:
        """Find out anew of which era the server is."""
        self._era = self._config.era

    def end_ahead(self) -> None:
        """Have nobody get what was started ahead; what is started from now on is the server as it is now."""
        if self._spare is not None:
            self._spare.end()

    async def aclose(self) -> None:
        """Start nothing ahead any more; sessions may still be opened."""
        if self._spare is not None:
            await self._spare.aclose()

    async def _open_as(self, era: str, events: Events, terms: Terms) -> Session:
        if self._config.type == "stdio":
            return await open_stdio(self._config, self._runtime, events, era, terms, self._spare)
        runtime = self._runtime.reaching(self._config, terms.user)
        if self._config.type == "sse":
            return await open_sse(self._config, runtime, events, terms)
        return await open_http(self._config, runtime, events, era, terms)
