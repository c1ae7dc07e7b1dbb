"""Two gateways that share nothing but their keys and a Redis, as on two machines, and clients that use them in turn."""

from tests.gateway.client import Client, Exchange, HeaderList

__all__ = ["BetweenNodes", "Nodes"]


class Nodes:
    """Gateways of one process each; stands where the laboratory has the processes of one.

    Args:
        ports: Where each listens.
    """

    def __init__(self, *ports: int) -> None:
        self.ports = ports
        self.port = ports[0]

    def client(self, endpoint: str = "open", key: str | None = None) -> "BetweenNodes":
        """Returns a client each of whose requests goes to another node than the one before."""
        return BetweenNodes(self.ports, endpoint, key)

    def pids(self) -> list[int]:
        """Returns what names each node to ``at``."""
        return list(self.ports)

    def at(self, pid: int, endpoint: str = "open", key: str | None = None) -> "BetweenNodes":
        """Returns a client of one node."""
        return BetweenNodes((pid,), endpoint, key)


class BetweenNodes(Client):
    """A client each of whose requests goes to another node than the one before."""

    def __init__(self, ports: tuple[int, ...], endpoint: str, key: str | None) -> None:
        super().__init__(ports[0], endpoint, key)
        self.ports = ports
        self.reached: list[int] = []

    async def open(
        self, method: str, headers: HeaderList = (), body: bytes = b"", target: str | None = None
    ) -> Exchange:
        self.port = self.ports[len(self.reached) % len(self.ports)]
        self.reached.append(self.port)
        return await super().open(method, headers, body, target)
