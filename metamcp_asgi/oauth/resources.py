"""What tokens can be for here, and which scopes mean something there: our own endpoints by their URLs (RFC 8707).

Sans-IO. Knows the snapshot; knows neither clients nor people.
"""

from typing import Final

from metamcp_asgi.config.oauth import BASE_SCOPE
from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.oauth.errors import OAuthError

__all__ = ["audience_of", "endpoint_at", "known_scopes", "scopes_within"]

_LEAVES: Final = ("", "mcp", "sse", "api")


def endpoint_at(base: str, url: str) -> str | None:
    """Return the name of the endpoint whose URL this is, empty for that of the gateway; ``None`` for any other.

    Args:
        base: The public URL of the gateway.
        url: The URL; whether there is such an endpoint is not looked at.
    """
    named = url.rstrip("/")
    if named == base:
        return ""
    place = named.removeprefix(f"{base}/metamcp/")
    name, _, leaf = place.partition("/")
    return name if place != named and name and leaf in _LEAVES else None


def audience_of(snapshot: Snapshot, base: str, resources: list[str]) -> tuple[str, str]:
    """Return what a token will be for, and the endpoint that it is for, empty for all (RFC 8707, dossier 4.2).

    Args:
        snapshot: What is served.
        base: The public URL of the gateway.
        resources: What the client named.

    Raises:
        OAuthError: There is no such resource here.
    """
    if len(set(resources)) > 1:
        raise OAuthError("invalid_target", "one resource can be named at a time")
    named = resources[0].rstrip("/") if resources else base
    if named == base:
        return f"{base}/", ""
    name = endpoint_at(base, named)
    endpoint = None if name is None else snapshot.endpoints.get(name)
    if name is None or endpoint is None or endpoint.oauth is None or endpoint.oauth.issuer:
        raise OAuthError("invalid_target", "resource is nothing for which this server issues tokens")
    return named, name


def known_scopes(snapshot: Snapshot, endpoint: str, wanted: str) -> list[str]:
    """Return those of the scopes that are wanted that mean something; what an endpoint needs, if none does.

    Args:
        snapshot: What is served.
        endpoint: What the token is for; empty for all.
        wanted: The scopes that a client asks for.
    """
    known = {BASE_SCOPE: None}
    least = dict(known)
    for each in snapshot.endpoints.values():
        if each.oauth is not None and not each.oauth.issuer and endpoint in ("", each.name):
            known.update(dict.fromkeys(each.oauth.scopes))
            if endpoint:
                least = dict.fromkeys(each.oauth.scopes)
            for _, scopes in each.oauth.tool_scopes:
                known.update(dict.fromkeys(scopes))
    return [scope for scope in dict.fromkeys(wanted.split()) if scope in known] or list(least)


def scopes_within(snapshot: Snapshot, endpoint: str, allowed: str | None, wanted: str) -> str:
    """Return the scopes of a token for which somebody else has said what it may have.

    Args:
        snapshot: What is served.
        endpoint: What the token is for; empty for all.
        allowed: The scopes that it may have; ``None``: nothing is said about that.
        wanted: Those of them that the client asks for; empty for all.

    Raises:
        OAuthError: None is left that means something here.
    """
    if allowed is None:
        return " ".join(known_scopes(snapshot, endpoint, wanted))
    left = [each for each in allowed.split() if not wanted or each in wanted.split()]
    # Without words, what an endpoint needs would be given, which nobody has allowed.
    found = [each for each in known_scopes(snapshot, endpoint, " ".join(left)) if each in left]
    if not found:
        raise OAuthError("invalid_scope", "of the scopes that are allowed, none is wanted and known here")
    return " ".join(found)
