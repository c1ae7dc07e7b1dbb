"""Names in the place of ids, and the other way round: what people call a thing, and what the API does.

Knows which fields and parts of a path hold the id of what. Knows nothing of how it is reached.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from metamcp_asgi.admin.api.operation import Operation
from metamcp_asgi.commands.reach import Reach, Refused, whole
from metamcp_asgi.errors import MetaMCPError

__all__ = ["FIELDS", "PARTS", "Names", "identified", "of_part", "singular"]

FIELDS: Final[Mapping[str, str]] = {
    "ownerId": "users",
    "namespaceId": "namespaces",
    "serverId": "servers",
    "endpointIds": "endpoints",
}
"""The fields of bodies and answers that hold ids, and the collection that these are of."""

_NAMES: Final[Mapping[str, str]] = {
    "servers": "name",
    "namespaces": "name",
    "endpoints": "name",
    "keys": "name",
    "clients": "name",
    "consents": "name",
    "users": "email",
}
"""The collections whose objects have a name."""

PARTS: Final = re.compile(r"\{(\w+):(\w+)\}")
"""The parts of a path that differ, each with its kind: ``uuid``, or ``path`` for the name of a tool."""

_ID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_KINDS: Final[Mapping[str, str]] = {"api_key": "keys"} | {f"{name[:-1]}": name for name in _NAMES}
_NEAREST: Final = 3


class Names:
    """Finds ids by names and names by ids; each collection is read once, when it is needed.

    Args:
        reach: Where the objects are.
        operations: The route table.
    """

    def __init__(self, reach: Reach, operations: Sequence[Operation]) -> None:
        self._reach = reach
        self._lists = {each.path.removeprefix("/"): each for each in operations if each.method == "GET"}
        self._known: dict[str, list[dict[str, Any]]] = {}

    async def identity(self, collection: str, text: str) -> str:
        """Return the id of an object.

        Args:
            collection: What it is one of: ``servers``.
            text: Its name, or its id already.

        Raises:
            Refused: There is none of this name (404), or more than one (409).
        """
        if _ID.fullmatch(text):
            return text.lower()
        if collection not in _NAMES:
            raise Refused(404, f"there is no {singular(collection)} {text}; give its id")
        field = _NAMES[collection]
        wanted = text.strip().lower() if collection == "users" else text
        items = await self._items(collection)
        found = [item for item in items if item[field] == wanted]
        if len(found) == 1:
            identity: str = found[0]["id"]
            return identity
        what = singular(collection)
        if found:
            each = [f"{item['id']} ({await self._owner(item)})" for item in found]
            raise Refused(409, f'more than one {what} is called "{text}"; give the id: {" or ".join(each)}')
        near = difflib.get_close_matches(wanted, {item[field] for item in items}, n=_NEAREST, cutoff=0.5)
        meant = " or ".join(f'"{name}"' for name in near)
        raise Refused(404, f"there is no {what} {text}" + (f"; did you mean {meant}?" if near else ""))

    async def name(self, collection: str, identity: str) -> str:
        """Return what people call an object; its id, where it is not to be seen."""
        try:
            items = await self._items(collection)
        except MetaMCPError:
            # What was done must be shown, be it a new key, whatever becomes of a question about names.
            return identity
        field = _NAMES[collection]
        return next((str(item[field]) for item in items if item["id"] == identity), identity)

    async def object_of(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Return query parameters of the audit, the name of an object of a known kind as its id."""
        collection = _KINDS.get(str(query.get("kind")))
        if collection is None or "object" not in query:
            return dict(query)
        return {**query, "object": await self.identity(collection, query["object"])}

    async def _owner(self, item: Mapping[str, Any]) -> str:
        owner = item.get("ownerId")
        return "public" if owner is None else f"of {await self.name('users', owner)}"

    async def _items(self, collection: str) -> list[dict[str, Any]]:
        if collection not in self._known:
            self._known[collection] = (await whole(self._reach, self._lists[collection], {}))["items"]
        return self._known[collection]


async def identified(names: Names, body: Any) -> Any:
    """Return a body with the ids of what it names; the members of a namespace included."""
    if not isinstance(body, dict):
        return body
    known = dict(body)
    for field, collection in FIELDS.items():
        value = known.get(field)
        if isinstance(value, str):
            known[field] = await names.identity(collection, value)
        elif isinstance(value, list):
            known[field] = [await names.identity(collection, each) if isinstance(each, str) else each for each in value]
    if isinstance(known.get("servers"), list):
        known["servers"] = [await identified(names, member) for member in known["servers"]]
    return known


def of_part(path: str, name: str) -> str:
    """Return the collection that a part of a path is an object of: ``servers`` for ``/servers/{id:uuid}``."""
    if name != "id":
        return f"{name}s"
    return path.partition(f"/{{{name}:")[0].rpartition("/")[2]


def singular(collection: str) -> str:
    """Return what one object of a collection is called."""
    return collection.removesuffix("s")
