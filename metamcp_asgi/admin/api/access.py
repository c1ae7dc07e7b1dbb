"""Who manages: the admin-scoped API key of a request, or the person who is signed in.

A key that the present snapshot does not know is refused without a look into the database, and only so often per
client. What the caller may do is the policy's; here is only what may be asked of any object: to show its secrets.
"""

import hmac
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, NoReturn

from starlette.types import Scope

from metamcp_asgi.admin.api.operation import SECRETS, Ask, Parameter
from metamcp_asgi.admin.api.problem import Fault, Problem, sentence
from metamcp_asgi.asgi.auth import FAILURES_PER_MINUTE, key_in_headers
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.config.snapshot import Key, digest_of
from metamcp_asgi.pages.forms import is_foreign
from metamcp_asgi.signin.sessions import Sessions
from metamcp_asgi.store.models import Server, User
from metamcp_asgi.store.policy import Acting, Forbidden, acting_key, check_admin
from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import keys

__all__ = ["Access", "included", "note_shown", "secrets_included"]

_CHALLENGE: Final = ((b"www-authenticate", b'Bearer realm="MetaMCP management"'),)


class Access:
    """Tells who asks, by ``Authorization: Bearer`` or ``X-API-Key``, else by the cookie of a session.

    A browser sends a cookie by itself, whoever makes it do so; so with a cookie, what changes something must bring the
    token of the session in ``X-CSRF-Token``, and what another site asks for is refused.

    Args:
        keys: Gives the keys of the present snapshot by their digests: enabled, not expired, of enabled owners.
        counting: Counts wrong keys.
        used: Called with the digest of each key that is let in.
        sessions: The sessions of people; ``None``: there are none.
    """

    def __init__(
        self,
        keys: Callable[[], Mapping[bytes, Key]],
        counting: Counting,
        *,
        used: Callable[[bytes], object] | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self._keys = keys
        self._sessions = sessions
        self._used = used
        self._counting = counting

    async def caller(self, store: Store, scope: Scope) -> Acting:
        """Return who asks.

        Args:
            store: The open store.
            scope: The request.

        Raises:
            Problem: There is no key, or no good one (401), or it is not meant for managing (403), or its
                client has tried too many wrong ones (429).
        """
        presented = key_in_headers(scope)
        if presented is None:
            if (person := await self._person(scope)) is not None:
                return person
            detail = "An admin-scoped API key is required, as Authorization: Bearer or X-API-Key."
            raise Problem(401, detail, headers=_CHALLENGE)
        digest = digest_of(presented)
        known = self._keys().get(digest)
        if known is None or not hmac.compare_digest(known.digest, digest):
            await self._failed(scope)
        async with store.read() as tx:
            key = await keys.of_digest(tx, digest)
            if key is None:  # deleted a moment ago
                await self._failed(scope)
            owner = None if key.owner_id is None else await tx.get(User, key.owner_id)
        try:
            acting = acting_key(key, owner, datetime.now(UTC))
        except Forbidden as error:
            raise Problem(403, sentence(str(error))) from None
        if self._used is not None:
            self._used(digest)
        return acting

    async def _person(self, scope: Scope) -> Acting | None:
        signed_in = await self._sessions.signed_in(scope) if self._sessions is not None else None
        if self._sessions is None or signed_in is None:
            return None
        if is_foreign(scope, self._sessions.place):
            raise Problem(403, "This request came from another site and was refused.")
        if scope["method"] not in ("GET", "HEAD"):
            token = next((value for name, value in scope["headers"] if name == b"x-csrf-token"), b"")
            if not hmac.compare_digest(token, signed_in.csrf.encode()):
                raise Problem(403, "With a session, X-CSRF-Token is required: the token of a page of this session.")
        return signed_in.acting

    async def _failed(self, scope: Scope) -> NoReturn:
        client = scope.get("client")
        name = f"failures {client[0] if client else ''}"
        if wait := await self._counting.wait("management", name, FAILURES_PER_MINUTE, 60.0):
            headers = [(b"retry-after", b"%d" % math.ceil(wait))]
            raise Problem(429, "Too many failed attempts; try again later.", headers=headers)
        raise Problem(401, "The API key is not valid: unknown, disabled or expired.", headers=_CHALLENGE)


def secrets_included(ask: Ask) -> bool:
    """Tell whether a request asks for secrets, with ``?secrets=include``.

    Raises:
        Forbidden: It does, and is no admin's.
        Problem: It asks for something else (422).
    """
    if not included(ask, SECRETS):
        return False
    check_admin(ask.caller, "secrets")
    return True


def included(ask: Ask, parameter: Parameter) -> bool:
    """Tell whether a request asks for more than is usual, with ``include`` as the value of a parameter.

    Raises:
        Problem: It asks for something else (422).
    """
    wanted = ask.query[parameter.name]
    if wanted not in (None, "include"):
        reason = "may only be `include`"
        raise Problem(422, f"{parameter.name}: {reason}.", [Fault(reason, parameter=parameter.name)])
    return wanted is not None


async def note_shown(ask: Ask, rows: Iterable[Server]) -> None:
    """Put into the audit that the secrets of servers are about to be shown; without that, they are not.

    Args:
        ask: The request.
        rows: The servers.
    """
    async with ask.store.write(ask.caller) as tx:
        for row in rows:
            tx.note("show-secrets", row)
