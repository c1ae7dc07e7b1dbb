"""What cannot be shown: an error with the status and the text of the page that says so.

Knows which status each error of the store stands for; knows nothing of how a page looks.
"""

from collections.abc import Mapping
from typing import Final

from metamcp_asgi.errors import ConfigError, MetaMCPError
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.store.errors import Busy, Conflict, Dangling, Duplicate, Full, NotFound
from metamcp_asgi.store.policy import Forbidden
from metamcp_asgi.store.services.inputs import Invalid, Unknown

__all__ = ["Fault", "fault_of"]


class Fault(MetaMCPError):
    """A request that a page answers with an error.

    Args:
        status: The HTTP status.
        text: What is wrong and what would be right, marked with ``N_`` or already in the visitor's language.
        headers: Headers of the answer, names in lower case.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.text = text
        self.headers = dict(headers or {})
        super().__init__(text)


_STATUS: Final[Mapping[type[MetaMCPError], int]] = {
    Unknown: 401,
    Forbidden: 403,
    NotFound: 404,
    Duplicate: 409,
    Conflict: 409,
    Invalid: 422,
    Dangling: 422,
}


def fault_of(error: MetaMCPError) -> Fault:
    """Return the fault that an error of the store, the policy or a service stands for."""
    if isinstance(error, Fault):
        return error
    if isinstance(error, Busy | ConfigError):
        return Fault(503, N_("The database cannot be used now. Try again in a moment."), {"retry-after": "1"})
    if isinstance(error, Full):
        return Fault(507, N_("The disk of the database is full. Nothing was changed."))
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        return Fault(500, N_("Something went wrong here. The gateway's log has more."))
    text = str(error)
    return Fault(status, text[:1].upper() + text[1:] + ".")
