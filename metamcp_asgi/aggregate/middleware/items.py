"""What middlewares see of a list: its items, each decoded when somebody looks at its definition.

A middleware may leave items out and change definitions. Names, URIs and the order are the namespace's, and what is left
out is not callable either.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from metamcp_asgi.aggregate.published import Item, item_of
from metamcp_asgi.config.snapshot import Principal
from metamcp_asgi.protocol.jsonrpc import decode_members, encode

__all__ = ["Items", "ListCall", "ListedItem", "published"]

_KEY = {
    "tools/list": "name",
    "prompts/list": "name",
    "resources/list": "uri",
    "resources/templates/list": "uriTemplate",
}


class ListedItem:
    """One tool, prompt, resource or template of a list."""

    __slots__ = ("_definition", "_key", "changed", "item", "server")

    def __init__(self, item: Item, server: str, key: str) -> None:
        self.item = item
        self.server = server
        self.changed = False
        self._key = key
        self._definition: dict[str, Any] | None = None

    @property
    def own_name(self) -> str:
        """Its name, URI or template at the server."""
        return self.item.place[1]

    @property
    def name(self) -> str:
        """Its published name, URI or template."""
        name: str = self.definition[self._key]
        return name

    @property
    def definition(self) -> dict[str, Any]:
        """Its published definition; to change it, assign another. The name stays what it is."""
        if self._definition is None:
            definition: dict[str, Any] = msgspec.json.decode(self.item.modern)
            if self.item.legacy is not self.item.modern:
                # Each era has members that the other has not.
                definition = {**msgspec.json.decode(self.item.legacy), **definition}
            self._definition = definition
        return self._definition

    @definition.setter
    def definition(self, definition: dict[str, Any]) -> None:
        self._definition = {**definition, self._key: self.name}
        self.changed = True


Items: TypeAlias = Sequence[ListedItem]


class ListCall:
    """Asks for a whole list, whatever page of it a client asked for.

    ``principal`` and ``endpoint`` are ``None`` unless one of the namespace's middlewares says ``per_principal``:
    without such a one the list is made once for everybody.
    """

    __slots__ = ("endpoint", "items", "method", "namespace", "principal")

    def __init__(
        self, method: str, namespace: str, principal: Principal | None, endpoint: str | None, items: Items
    ) -> None:
        self.method = method
        self.namespace = namespace
        self.principal = principal
        self.endpoint = endpoint
        self.items = items

    @classmethod
    def over(
        cls,
        method: str,
        namespace: str,
        principal: Principal | None,
        endpoint: str | None,
        items: Iterable[Item],
        servers: Sequence[str],
    ) -> "ListCall":
        """Return the call over the items that a namespace publishes; ``servers`` are its servers in order."""
        key = _KEY[method]
        listed = [ListedItem(item, servers[item.place[0]], key) for item in items]
        return cls(method, namespace, principal, endpoint, listed)


def published(items: Iterable[ListedItem]) -> list[Item]:
    """Return the lines of the list, in their order, each once."""
    lines = {each.item.place: _line(each) for each in items}
    return [lines[place] for place in sorted(lines)]


def _line(each: ListedItem) -> Item:
    return item_of(each.item.place, decode_members(encode(each.definition))) if each.changed else each.item
