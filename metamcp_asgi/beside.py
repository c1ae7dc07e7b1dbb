"""What a gateway with a store serves beside its endpoints: which sites there are, and what each is made of."""

from collections.abc import Collection, Mapping
from typing import Protocol, TypedDict

from starlette.types import ASGIApp, Scope

from metamcp_asgi.admin.api.access import Access
from metamcp_asgi.admin.api.application import PREFIX, management_api
from metamcp_asgi.admin.api.operation import Recent
from metamcp_asgi.admin.api.problem import Problem
from metamcp_asgi.admin.connect import CONNECT, connect_sites
from metamcp_asgi.admin.inspection import INSPECT, inspection_site
from metamcp_asgi.admin.pages.application import admin_pages
from metamcp_asgi.admin.pages.desk import Desk
from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.asgi.bucket import Counting
from metamcp_asgi.bus.protocol import Bus
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.grants.book import Book
from metamcp_asgi.grants.connect import Connecting
from metamcp_asgi.grants.registration import CALLBACK
from metamcp_asgi.grants.rows import StoredLedger
from metamcp_asgi.operations.exposition import Admits
from metamcp_asgi.operations.recording import Recording
from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.pages.place import Place
from metamcp_asgi.protocol.sealed import KeyRing
from metamcp_asgi.registry.client import Registry
from metamcp_asgi.settings import Settings
from metamcp_asgi.signin.application import sign_in_sites
from metamcp_asgi.signin.entrance import Entrance
from metamcp_asgi.signin.provider import OIDC, Provider
from metamcp_asgi.signin.sessions import Sessions
from metamcp_asgi.store.policy import Forbidden, check_admin
from metamcp_asgi.store.source import StoreSource
from metamcp_asgi.tokens.needed import available
from metamcp_asgi.tokens.verifier import Verifier

__all__ = ["administrators", "sites"]


class Host(Protocol):
    """The gateway beside whose endpoints the sites are."""

    settings: Settings
    snapshot: Snapshot
    aggregator: Aggregator
    admitted: ASGIApp
    bus: Bus
    tokens: Verifier
    grants: Book
    recording: Recording

    async def reload(self) -> bool:
        """Have the snapshot know what has just been written."""


def sites(source: StoreSource, host: Host, environ: Mapping[str, str], counting: Counting) -> Mapping[str, ASGIApp]:
    """Return the sites by their paths, for ``asgi.beside.Beside``.

    Args:
        source: The store.
        host: The gateway; its grants get a place in the store.
        environ: The environment, for the OpenID provider.
        counting: Counts tries: who is refused at one site has no more at another, nor at another process.

    Raises:
        ConfigError: The OpenID provider is set up wrong.
    """
    settings, bus = host.settings, host.bus
    place = Place(settings.app_url)
    sessions = Sessions(source.opened, place)
    entrance = Entrance(sessions, take=bus.take, when_away=settings.limits_without_redis)
    # A proxy in front may tell another Host than browsers see, whose pages are ours all the same.
    ours = () if place.app_url is None else (place.origin({}),)
    guarded: _Guarded = {"hosts": settings.allowed_hosts, "origins": (*settings.allowed_origins, *ours)}
    oidc = OIDC.from_environ(environ)
    provider = None if oidc is None else Provider(oidc)
    people = sign_in_sites(entrance, place, provider=provider, **guarded)
    recent = Recent(host.recording.lines, host.recording.history)
    registry = Registry(settings.registry_url, Guard(settings.outward_allowed))
    management = management_api(
        source.opened,
        host.aggregator,
        lambda: host.snapshot.keys,
        counting,
        **guarded,
        sessions=sessions,
        max_body_bytes=settings.max_body_bytes,
        used=source.used,
        app_url=settings.app_url,
        recent=recent,
        explored=registry,
    )
    desk = Desk(source.opened, host.aggregator, host.reload, recent, registry, counting)
    return {
        PREFIX: management,
        **people,
        **admin_pages(desk, sessions, place, **guarded),
        INSPECT: inspection_site(host.admitted, desk, lambda: host.snapshot, sessions, place, **guarded),
        **_connecting(source, host, sessions, place, counting, guarded),
        **_authorizing(host, sessions, provider, counting, guarded),
    }


def _connecting(
    source: StoreSource, host: Host, sessions: Sessions, place: Place, counting: Counting, guarded: "_Guarded"
) -> Mapping[str, ASGIApp]:
    """Return the sites on which people connect servers, and give their grants a place."""
    grants, bus = host.grants, host.bus
    base = grants.ourselves.redirect_uri.removesuffix(CALLBACK)
    grants.ledgers = lambda spec, user: StoredLedger(source.opened, bus, spec, user)
    grants.page = lambda key: f"{base}{CONNECT}/{key}"
    grants.changed = host.aggregator.pool.authorized
    source.on_grants(grants.read_again)
    connecting = Connecting(
        source.opened,
        grants,
        bus,
        KeyRing(host.settings.secret_keys),
        transform_localhost=host.settings.transform_localhost,
    )
    return connect_sites(connecting, sessions, place, counting, **guarded)


def _authorizing(
    host: Host, sessions: Sessions, provider: Provider | None, counting: Counting, guarded: "_Guarded"
) -> Mapping[str, ASGIApp]:
    """Return the sites of our authorization server; none, where what it needs is not installed."""
    if not available():
        return {}
    from metamcp_asgi.oauth.application import authorization_server

    settings = host.settings
    return authorization_server(
        sessions,
        host.tokens,
        lambda: host.snapshot,
        host.reload,
        secret_keys=settings.secret_keys,
        guard=Guard(settings.outward_allowed),
        counting=counting,
        app_url=settings.app_url,
        provider=provider,
        **guarded,
    )


def administrators(source: StoreSource, host: Host, counting: Counting) -> Admits:
    """Return what tells requests with an administrator's key from others.

    Args:
        source: The store.
        host: The gateway.
        counting: As for ``sites``.
    """
    access = Access(lambda: host.snapshot.keys, counting, used=source.used)

    async def refused(scope: Scope) -> tuple[int, str] | None:
        try:
            check_admin(await access.caller(await source.opened(), scope), "metrics")
        except Problem as problem:
            return problem.status, problem.detail
        except Forbidden as error:
            return 403, f"The numbers of all servers are for administrators: {error}"
        return None

    return refused


class _Guarded(TypedDict):
    """Which names and origins each site answers."""

    hosts: Collection[str] | None
    origins: Collection[str]
