"""How tokens for a server are got, as its row has it, and as the snapshot does."""

from collections.abc import Mapping
from typing import Any

from metamcp_asgi.config.snapshot import GrantSpec
from metamcp_asgi.store.secrets import ServerSecrets

__all__ = ["column_of", "spec_of"]


def column_of(spec: GrantSpec | None) -> dict[str, Any] | None:
    """Return the column ``oauth`` of a server's row, which has no secret in it."""
    if spec is None:
        return None
    column: dict[str, Any] = {"flow": spec.flow, "grant": spec.per}
    if spec.client_id is not None:
        column["clientId"] = spec.client_id
    if spec.key_id is not None:
        column["keyId"] = spec.key_id
    if spec.algorithm is not None:
        column["algorithm"] = spec.algorithm
    if spec.scopes:
        column["scopes"] = list(spec.scopes)
    return column


def spec_of(column: Mapping[str, Any] | None, secrets: ServerSecrets, key: str) -> GrantSpec | None:
    """Return what the column of a row stands for.

    Args:
        column: The column; ``None`` for a server of which nothing was said.
        secrets: The secrets of the row.
        key: Under what the grants are kept.
    """
    if column is None:
        return None
    return GrantSpec(
        key=key,
        per=column["grant"],
        flow=column["flow"],
        client_id=column.get("clientId"),
        client_secret=secrets.client_secret,
        private_key=secrets.private_key,
        key_id=column.get("keyId"),
        algorithm=column.get("algorithm"),
        scopes=tuple(column.get("scopes", ())),
    )
