"""Errors of the API as problem documents (RFC 9457), which name the field that is wrong.

Knows which status each error of the store and of the policy has. Knows nothing of routes.
"""

import json
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from metamcp_asgi.errors import ConfigError, MetaMCPError
from metamcp_asgi.store.errors import Busy, Conflict, Dangling, Duplicate, Full, NotFound, SecretsError
from metamcp_asgi.store.policy import Forbidden
from metamcp_asgi.store.services.inputs import Invalid, Unknown

__all__ = ["Fault", "Problem", "ProblemDocument", "pointer_of", "pointer_to", "problem_of", "sentence"]

_STEP: Final = re.compile(r'(?:^|\.)([^.\[\]"]+)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]')
CONTENT_TYPE: Final = b"application/problem+json"
_STATUS: Final[dict[type[MetaMCPError], int]] = {
    Unknown: 401,
    Forbidden: 403,
    NotFound: 404,
    Duplicate: 409,
    Conflict: 412,
    Invalid: 422,
    Dangling: 422,
    SecretsError: 500,
    Busy: 503,
    Full: 507,
    ConfigError: 503,
}


class Fault(Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong: in the body at ``pointer`` (RFC 6901), or in the query parameter ``parameter``."""

    detail: str
    pointer: str | None = None
    parameter: str | None = None


class ProblemDocument(Struct, frozen=True, kw_only=True):
    """A problem (RFC 9457). ``errors`` names the fields that are wrong, where there are any."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: Sequence[Fault] = ()


class Problem(MetaMCPError):
    """The answer to a request that cannot be fulfilled.

    Args:
        status: The HTTP status.
        detail: What is wrong and what would be right, for people; never a secret.
        errors: The fields that are wrong.
        headers: Headers of the answer, names in lower case.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[Fault] = (),
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = tuple(headers)
        super().__init__(detail)

    def document(self) -> bytes:
        """Return the problem document."""
        title = HTTPStatus(self.status).phrase
        return msgspec.json.encode(
            ProblemDocument(title=title, status=self.status, detail=self.detail, errors=self.errors)
        )


def pointer_to(*steps: object) -> str:
    """Return the JSON pointer (RFC 6901) of these steps, empty ones left out."""
    pointer = "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps if step != "")
    return pointer.encode("utf-8", "replace").decode()  # a key in JSON may have half a surrogate pair


def problem_of(error: MetaMCPError) -> Problem:
    """Return the problem that an error of the store, the policy or a service stands for."""
    if isinstance(error, Problem):
        return error
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    if isinstance(error, SecretsError):
        return Problem(status, "A secret cannot be opened: its key is not in METAMCP_SECRET_KEYS or the key file.")
    if isinstance(error, Busy | ConfigError):  # the latter when the store is opened
        return Problem(status, "The database cannot be used now; try again.", headers=[(b"retry-after", b"1")])
    if isinstance(error, Full):
        return Problem(status, "The disk of the database is full; nothing was changed.")
    if status == 500:
        return Problem(status, "An internal error; the gateway's log has more.")
    faults: list[Fault] = []
    if isinstance(error, Duplicate):
        faults.append(Fault(str(error), pointer=pointer_to(_camel(error.field))))
    elif isinstance(error, Invalid):
        faults.append(Fault(error.reason, pointer=pointer_of(error.field)))
    return Problem(status, sentence(str(error)), faults)


def pointer_of(place: str) -> str:
    """Return the pointer of a place that is written as in a configuration file: ``args[0]``, ``env.API_KEY``."""
    return pointer_to(*(name or index or json.loads(quoted) for name, index, quoted in _STEP.findall(place)))


def sentence(text: str) -> str:
    """Return a reason as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)
