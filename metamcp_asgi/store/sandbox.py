"""What the process of a server sees, as its row has it, and as the snapshot does."""

from collections.abc import Mapping
from typing import Any

import msgspec

from metamcp_asgi.config.snapshot import Sandbox

__all__ = ["sandbox_of"]


def sandbox_of(column: Mapping[str, Any] | None) -> Sandbox | None:
    """Return what the column of a row stands for."""
    return None if column is None else msgspec.convert(column, Sandbox)
