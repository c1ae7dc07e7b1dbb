"""The ``sandbox`` of a server's entry: what of the machine its process sees. Read, and written again."""

from typing import Any

from metamcp_asgi.config.dialects import escaped
from metamcp_asgi.config.node import Node
from metamcp_asgi.config.snapshot import Sandbox

__all__ = ["document_of_sandbox", "sandbox_of"]


def sandbox_of(node: Node) -> Sandbox | None:
    """Compile ``sandbox``: ``true`` and ``{}`` for one that shows nothing but the system's programs, or an object.

    Raises:
        ConfigError: It is wrong.
    """
    if isinstance(node.value, bool):
        return Sandbox() if node.value else None
    return Sandbox(**node.read({"network": Node.flag, "read": _paths, "write": _paths}))


def document_of_sandbox(sandbox: Sandbox) -> bool | dict[str, Any]:
    """Return what ``sandbox_of`` would make ``sandbox`` of."""
    entry: dict[str, Any] = {}
    if sandbox.network:
        entry["network"] = True
    for key, paths in (("read", sandbox.read), ("write", sandbox.write)):
        if paths:
            entry[key] = [escaped(path) for path in paths]
    return entry or True


def _paths(node: Node) -> tuple[str, ...]:
    paths = node.texts()
    for item, path in zip(node.items(), paths, strict=True):
        if not path.startswith(("/", "~/")) or ".." in path.split("/") or not path.strip("/"):
            raise item.error('must be the absolute path of a file or folder, or one in the home folder: "~/notes"')
    return paths
