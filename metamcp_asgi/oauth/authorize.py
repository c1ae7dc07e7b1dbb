"""``/oauth/authorize``: a person allows a client to act for them, or does not.

Whoever comes signs in first; only then is the client looked at, so that strangers cannot make us look anywhere. Every
client is asked for each time, on a page that names where the answer goes: names are the client's own words, and on the
user's machine any program can say that it is another one. What is wrong with a request is told to the person and not
sent on, because anybody can register a client and its redirect (RFC 9700 4.11). Knows pages; tokens are others' matter.
"""

import re
import time
import uuid
from collections.abc import Callable
from typing import Final

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from metamcp_asgi.asgi.bearer import base_of
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.oauth.attempts import Attempts
from metamcp_asgi.oauth.clients import Clients
from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.grants import Grants, Wanted
from metamcp_asgi.oauth.metadata import Client
from metamcp_asgi.oauth.redirects import csp_source, is_loopback, matching, shown, with_query
from metamcp_asgi.oauth.resources import audience_of, known_scopes
from metamcp_asgi.pages.fault import Fault
from metamcp_asgi.pages.forms import form_of
from metamcp_asgi.pages.i18n import N_
from metamcp_asgi.pages.render import redirect, render
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.signin.people import ask_to_sign_in, person, person_or_none

__all__ = ["Authorize"]

PATIENCE: Final = 600.0
"""Seconds that a person may think."""

PER_MINUTE: Final = 60
"""Requests of one person, each of which may have us fetch a document."""

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7636 4.2, of S256
_LONGEST_STATE: Final = 2000


class _Asked(Struct, frozen=True, kw_only=True):
    """What a page asks a person, in the hands of the browser until they answer: theirs alone, and not for long."""

    session: uuid.UUID
    until: float
    client: str
    client_id: str
    redirect_uri: str
    state: str
    scope: str
    audience: str
    challenge: str
    keyed: bool = False


class Authorize:
    """Answers ``/oauth/authorize``, inside ``for_people``.

    Args:
        clients: Knows the clients.
        grants: Begins grants.
        snapshot: Gives what is served at the time.
        keys: Seal what a page asks.
        app_url: Public URL of the gateway; ``None``: the one that a request came to.
        counting: Counts what each person asks.
    """

    def __init__(
        self,
        clients: Clients,
        grants: Grants,
        snapshot: Callable[[], Snapshot],
        keys: KeyRing,
        app_url: str | None,
        counting: Counting,
    ) -> None:
        self._clients = clients
        self._grants = grants
        self._snapshot = snapshot
        self._sealer = keys.sealer("a1", _Asked)
        self._app_url = app_url
        self._attempts = Attempts(counting, "consent", PER_MINUTE)

    async def __call__(self, request: Request) -> Response:
        """Ask, or take the answer."""
        if request.method == "POST":
            return await self._decided(request)
        if person_or_none(request.scope) is None:
            return ask_to_sign_in(request.scope)
        try:
            await self._attempts.count(str(person(request.scope).id))
            client, asked = await self._asked(request)
        except OAuthError as error:
            status = error.status if error.status == 429 else 400
            return render(request.scope, "oauth/refused.html", status=status, error=error.error, text=str(error))
        endpoint = asked.audience.rpartition("/metamcp/")[2].partition("/")[0] if "/metamcp/" in asked.audience else ""
        return render(
            request.scope,
            "oauth/consent.html",
            form_action=[csp_source(asked.redirect_uri)],
            client=client,
            endpoint=endpoint,
            scopes=asked.scope.split(),
            goes_to=shown(asked.redirect_uri),
            program=is_loopback(asked.redirect_uri) or not asked.redirect_uri.startswith("https:"),
            sealed=self._sealer.seal(asked),
        )

    async def _decided(self, request: Request) -> Response:
        me, form = person(request.scope), form_of(request.scope)
        asked = self._sealer.open(form["request"])
        if asked is None or asked.session != me.session or asked.until < time.time():
            raise Fault(400, N_("This took too long, or was begun by somebody else. Start again from the program."))
        answer = {"state": asked.state, "iss": base_of(request.scope, self._app_url)}
        if form["decision"] != "allow":
            denied = {"error": "access_denied", "error_description": "The person did not allow it", **answer}
            return redirect(request.scope, with_query(asked.redirect_uri, denied))
        wanted = Wanted(
            client_id=asked.client_id,
            name=asked.client,
            redirect_uri=asked.redirect_uri,
            scope=asked.scope,
            audience=asked.audience,
            challenge=asked.challenge,
            keyed=asked.keyed,
        )
        code = await self._grants.begin(me.id, me.acting, wanted)
        await self._clients.used(asked.client_id)
        return redirect(request.scope, with_query(asked.redirect_uri, {"code": code, **answer}))

    async def _asked(self, request: Request) -> tuple[Client, _Asked]:
        query = request.query_params
        for name in query:
            if name != "resource" and len(query.getlist(name)) > 1:
                raise OAuthError("invalid_request", f"{name} is given more than once")
        client = await self._clients.find(query.get("client_id", ""))
        redirect_uri = query.get("redirect_uri", "")
        if not redirect_uri and len(client.redirect_uris) == 1:
            redirect_uri = client.redirect_uris[0]
        if not matching(redirect_uri, client.redirect_uris):
            raise OAuthError("invalid_request", "redirect_uri is none of those that the client has registered")
        if query.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", 'response_type must be "code"')
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(query.get("code_challenge", "")):
            raise OAuthError("invalid_request", "code_challenge is needed, with code_challenge_method S256 (PKCE)")
        if len(query.get("state", "")) > _LONGEST_STATE:
            raise OAuthError("invalid_request", f"state may have {_LONGEST_STATE} characters at most")
        if client.grant_types and "authorization_code" not in client.grant_types:
            raise OAuthError("unauthorized_client", "this client may not ask people")
        me, snapshot = person(request.scope), self._snapshot()
        base = base_of(request.scope, self._app_url)
        audience, endpoint = audience_of(snapshot, base, query.getlist("resource"))
        if endpoint and endpoint not in snapshot.people.get(f"user:{me.id}", ()):
            raise OAuthError("invalid_target", f"you may not use endpoint {endpoint}; it is somebody else's")
        return client, _Asked(
            session=me.session,
            until=time.time() + PATIENCE,
            client=client.name,
            client_id=client.client_id,
            redirect_uri=redirect_uri,
            state=query.get("state", ""),
            scope=" ".join(known_scopes(snapshot, endpoint, query.get("scope", ""))),
            audience=audience,
            challenge=query["code_challenge"],
            keyed=client.keyed,
        )
