"""What an endpoint says of OAuth, as the columns of its row and back; in one place for all who read or write rows."""

from typing import Any

import msgspec
from sqlalchemy import Row

from metamcp_asgi.config.oauth import BASE_SCOPE, document_of_oauth
from metamcp_asgi.config.snapshot import OAuth
from metamcp_asgi.store.models import Endpoint

__all__ = ["oauth_columns", "oauth_document", "oauth_of"]


def oauth_columns(oauth: OAuth | None) -> dict[str, Any]:
    """Return the columns that say so."""
    # With lists, as it is read again: tuples would be another value, and each writing a new version.
    options = None if oauth is None else msgspec.json.decode(msgspec.json.encode(oauth))
    return {"oauth": oauth is not None, "oauth_options": options}


def oauth_of(row: Endpoint | Row[Any]) -> OAuth | None:
    """Return what the columns of a row say; what is copied from MetaMCP has no options."""
    if not row.oauth:
        return None
    options = {"scopes": [BASE_SCOPE]} if row.oauth_options is None else row.oauth_options
    return msgspec.convert(options, OAuth)


def oauth_document(row: Endpoint) -> bool | dict[str, Any]:
    """Return what the columns of a row say, in the words of the configuration file."""
    oauth = oauth_of(row)
    return False if oauth is None else document_of_oauth(oauth)
