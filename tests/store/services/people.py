"""An admin and two members, who act on one store."""

from typing import Any

from metamcp_asgi.store.models import AuditEntry, Endpoint, Namespace, Server
from metamcp_asgi.store.policy import Acting
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import endpoints, namespaces, servers
from metamcp_asgi.store.services.inputs import Member, NewEndpoint, NewNamespace, NewServer

WEB = "http://127.0.0.1:1/mcp"
PASSWORD = "correct horse"


class People:
    """An admin and two members, who act on one store; each action is a transaction of its own."""

    def __init__(self, store: Store, ada: Acting, bob: Acting, eve: Acting) -> None:
        self.store = store
        self.ada, self.bob, self.eve = ada, bob, eve

    async def do(self, action: Any, acting: Acting, *arguments: Any, **options: Any) -> Any:
        """Does an action as somebody."""
        async with self.store.write(acting) as tx:
            return await action(tx, acting, *arguments, **options)

    async def server(self, acting: Acting, name: str, **given: Any) -> Server:
        """Makes a server with a URL."""
        row: Server = await self.do(servers.create, acting, NewServer(name=name, **({"url": WEB} | given)))
        return row

    async def namespace(self, acting: Acting, name: str, *members: Server, **given: Any) -> Namespace:
        """Makes a namespace of servers."""
        listed = [Member(server_id=server.id) for server in members]
        row: Namespace = await self.do(namespaces.create, acting, NewNamespace(name=name, servers=listed, **given))
        return row

    async def endpoint(self, acting: Acting, name: str, namespace: Namespace, **given: Any) -> Endpoint:
        """Publishes a namespace."""
        new = NewEndpoint(name=name, namespace_id=namespace.id, **given)
        row: Endpoint = await self.do(endpoints.create, acting, new)
        return row


async def audit(store: Store) -> list[AuditEntry]:
    async with store.read() as tx:
        return list(await tx.list(AuditEntry))
