"""What can go wrong between a caller and the store, each with the answer that a web server gives to it."""

from metamcp_asgi.errors import MetaMCPError

__all__ = ["Busy", "Conflict", "Dangling", "Duplicate", "Full", "NotFound", "SecretsError", "StoreError"]


class StoreError(MetaMCPError):
    """Base of what a caller of the store should expect."""


class NotFound(StoreError):
    """There is no such row (404).

    Args:
        kind: What was looked for: ``server``.
        identity: Its id or key.
    """

    def __init__(self, kind: str, identity: object) -> None:
        self.kind = kind
        super().__init__(f"there is no {kind} {identity}")


class Conflict(StoreError):
    """Somebody else changed or removed the row since it was read (412).

    Args:
        kind: What was to be changed: ``server``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(f"the {kind} was changed by somebody else in the meantime; read it again")


class Duplicate(StoreError):
    """Another row has the same value where each needs its own (409).

    Args:
        kind: What was to be stored: ``server``.
        field: The column that must be unique, per owner where there are owners: ``name``.
    """

    def __init__(self, kind: str, field: str) -> None:
        self.kind = kind
        self.field = field
        super().__init__(f"another {kind} has the same {field.replace('_', ' ')}")


class Dangling(StoreError):
    """A row names another one that does not exist (422).

    Args:
        kind: What was to be stored, where the database tells: ``endpoint``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        super().__init__(f"the {kind} refers to something that does not exist")


class Busy(StoreError):
    """Another change holds the database for too long, or the database is out of reach (503)."""


class Full(StoreError):
    """There is no room for a change on the disk of the database (507)."""


class SecretsError(StoreError):
    """A secret cannot be opened: its key is not in the key ring, or it was changed or moved to another row."""
