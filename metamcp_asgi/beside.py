"""What a gateway with a store serves beside its endpoints: which sites there are, and what each is made of."""

from collections.abc import Callable, Collection, Mapping
from typing import TypedDict

from starlette.types import ASGIApp, Scope

from metamcp_asgi.admin.api.access import Access
from metamcp_asgi.admin.api.application import PREFIX, management_api
from metamcp_asgi.admin.api.problem import Problem
from metamcp_asgi.aggregate.aggregator import Aggregator
from metamcp_asgi.asgi.bucket import Take
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.operations.exposition import Admits
from metamcp_asgi.pages.place import Place
from metamcp_asgi.settings import Settings
from metamcp_asgi.signin.application import sign_in_sites
from metamcp_asgi.signin.entrance import Entrance
from metamcp_asgi.signin.provider import OIDC
from metamcp_asgi.signin.sessions import Sessions
from metamcp_asgi.store.policy import Forbidden, check_admin
from metamcp_asgi.store.source import StoreSource

__all__ = ["administrators", "sites"]


def sites(
    source: StoreSource,
    aggregator: Aggregator,
    snapshot: Callable[[], Snapshot],
    settings: Settings,
    environ: Mapping[str, str],
    take: Take | None = None,
) -> Mapping[str, ASGIApp]:
    """Return the sites by their paths, for ``asgi.beside.Beside``.

    Args:
        source: The store.
        aggregator: What runs.
        snapshot: Gives what is served at the time.
        settings: How the gateway runs.
        environ: The environment, for the OpenID provider.
        take: Takes from buckets that many processes share; ``None``: this one counts for itself.

    Raises:
        ConfigError: The OpenID provider is set up wrong.
    """
    place = Place(settings.app_url)
    sessions = Sessions(source.opened, place)
    entrance = Entrance(sessions, take=take, when_away=settings.limits_without_redis)
    # A proxy in front may tell another Host than browsers see, whose pages are ours all the same.
    ours = () if place.app_url is None else (place.origin({}),)
    guarded: _Guarded = {"hosts": settings.allowed_hosts, "origins": (*settings.allowed_origins, *ours)}
    people = sign_in_sites(entrance, place, oidc=OIDC.from_environ(environ), **guarded)
    management = management_api(
        source.opened,
        aggregator,
        lambda: snapshot().keys,
        **guarded,
        sessions=sessions,
        max_body_bytes=settings.max_body_bytes,
        used=source.used,
        app_url=settings.app_url,
    )
    return {PREFIX: management, **people}


def administrators(source: StoreSource, snapshot: Callable[[], Snapshot]) -> Admits:
    """Return what tells requests with an administrator's key from others.

    Args:
        source: The store.
        snapshot: Gives what is served at the time.
    """
    access = Access(lambda: snapshot().keys, used=source.used)

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
