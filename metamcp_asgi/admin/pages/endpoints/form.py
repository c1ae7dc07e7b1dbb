"""The form of an endpoint: the texts of its fields from what the API has, and what the API is given from them.

Knows the words of the API; whether what was typed is right is for the API to say.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from metamcp_asgi.admin.api.shapes import Endpoint
from metamcp_asgi.config.oauth import BASE_SCOPE
from metamcp_asgi.pages.forms import Form

__all__ = ["Fields", "body_of", "empty", "filled", "misplaced", "typed"]

_TEXTS: Final = (
    *("name", "description", "namespace", "owner", "oauth", "ownScopes"),
    *("issuer", "audience", "scopes", "jwksUri", "principalClaim", "nameClaim", "groupsClaim", "groups", "toolScopes"),
    *("maxRate", "maxRateSeconds", "clientMaxRate", "clientMaxRateSeconds", "clientStrategy", "clientHeader"),
)
_BOXES: Final = ("apiKeyAuth", "queryParamAuth", "groupsOnly")

_PLACES: Final = {
    "/namespaceId": "namespace",
    "/ownerId": "owner",
    "/rateLimit": "maxRate",
    "/rateLimit/maxRateSeconds": "maxRateSeconds",
    "/clientRateLimit": "clientMaxRate",
    "/clientRateLimit/maxRateSeconds": "clientMaxRateSeconds",
    "/clientRateLimit/strategy": "clientStrategy",
    "/clientRateLimit/header": "clientHeader",
    **{f"/oauth/{name}": name for name in ("issuer", "audience", "jwksUri", "groups", "toolScopes")},
    **{f"/oauth/{name}": name for name in ("principalClaim", "nameClaim", "groupsClaim")},
}
"""The fields of the form by the places in the API's body; what lies below a place belongs to its field."""

Fields: TypeAlias = Mapping[str, Any]


def empty(owner: str) -> Fields:
    """Return the fields of a new endpoint, which asks for a key."""
    given = dict.fromkeys(_TEXTS, "") | dict.fromkeys(_BOXES, False)
    return given | {"apiKeyAuth": True, "oauth": "off", "ownScopes": BASE_SCOPE, "clientStrategy": "ip", "owner": owner}


def filled(endpoint: Endpoint) -> Fields:
    """Return the fields as an endpoint is now."""
    fields = dict(empty("public" if endpoint.owner_id is None else str(endpoint.owner_id)))
    fields |= {"name": endpoint.name, "description": endpoint.description, "namespace": str(endpoint.namespace_id)}
    fields |= {"apiKeyAuth": endpoint.api_key_auth, "queryParamAuth": endpoint.query_param_auth}
    if (rate := endpoint.rate_limit) is not None:
        fields |= {"maxRate": str(rate.max_rate), "maxRateSeconds": f"{rate.max_rate_seconds:g}"}
    if (client := endpoint.client_rate_limit) is not None:
        fields |= {"clientMaxRate": str(client.max_rate), "clientMaxRateSeconds": f"{client.max_rate_seconds:g}"}
        fields |= {"clientStrategy": client.strategy, "clientHeader": client.header or ""}
    oauth = {} if isinstance(endpoint.oauth, bool) else endpoint.oauth
    fields["oauth"] = "other" if "issuer" in oauth else "own" if endpoint.oauth else "off"
    fields |= {
        name: oauth.get(name, "") for name in ("issuer", "jwksUri", "principalClaim", "nameClaim", "groupsClaim")
    }
    fields["audience"] = "\n".join(oauth.get("audience", ()))
    fields["toolScopes"] = _lines(oauth.get("toolScopes", {}))
    fields["groups"], fields["groupsOnly"] = _lines(oauth.get("groups", {})), "groups" in oauth
    if "scopes" in oauth:
        fields["scopes" if "issuer" in oauth else "ownScopes"] = " ".join(oauth["scopes"])
    return fields


def typed(form: Form) -> Fields:
    """Return the fields as somebody filled them in."""
    return {name: form[name].strip() for name in _TEXTS} | {name: name in form for name in _BOXES}


def body_of(fields: Fields) -> dict[str, Any]:
    """Return what the API is given."""
    body: dict[str, Any] = {name: fields[name] for name in ("name", "description", "apiKeyAuth", "queryParamAuth")}
    body |= {"namespaceId": fields["namespace"], "oauth": _oauth(fields)}
    if fields["owner"]:
        body["ownerId"] = None if fields["owner"] == "public" else fields["owner"]
    body["rateLimit"] = _rate(fields["maxRate"], fields["maxRateSeconds"])
    body["clientRateLimit"] = client = _rate(fields["clientMaxRate"], fields["clientMaxRateSeconds"])
    if client is not None:
        client["strategy"] = fields["clientStrategy"]
        if fields["clientStrategy"] == "header":
            client["header"] = fields["clientHeader"]
    return body


def misplaced(errors: Mapping[str, str], fields: Fields) -> dict[str, str]:
    """Return what is wrong by the fields of the form, from what is wrong by the places in the API's body."""
    scopes = {"/oauth/scopes": "scopes" if fields["oauth"] == "other" else "ownScopes"}
    places = _PLACES | scopes
    found: dict[str, str] = {}
    for pointer, text in errors.items():
        place = max((each for each in places if f"{pointer}/".startswith(f"{each}/")), key=len, default=None)
        found.setdefault(pointer if place is None else f"/{places[place]}", text)
    return found


def _oauth(fields: Fields) -> bool | dict[str, Any]:
    if fields["oauth"] == "off":
        return False
    tools = _pairs(fields["toolScopes"])
    own: dict[str, Any] = {"toolScopes": tools} if tools else {}
    if fields["oauth"] == "own":
        return own | {"scopes": fields["ownScopes"].split()}
    given = {name: fields[name] for name in ("jwksUri", "principalClaim", "nameClaim", "groupsClaim") if fields[name]}
    return {
        "issuer": fields["issuer"],
        **own,
        **given,
        **({"audience": fields["audience"].split()} if fields["audience"] else {}),
        **({"scopes": fields["scopes"].split()} if fields["scopes"] else {}),
        **({"groups": _pairs(fields["groups"])} if fields["groupsOnly"] else {}),
    }


def _rate(count: str, seconds: str) -> dict[str, Any] | None:
    given = {"maxRate": count, "maxRateSeconds": seconds}
    return {name: _number(text) for name, text in given.items() if text} or None


def _number(text: str) -> int | float | str:
    """Return a number, or the text where it is none, so that the API says what would be right."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass  # The next kind, or none.
    return text


def _pairs(text: str) -> dict[str, list[str]]:
    """Return what lines of ``name = scope scope`` say; the last `` = `` divides, for names may have some in them."""
    found: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, divided, scopes = line.rpartition(" = ")
        found[(name if divided else line.removesuffix(" =")).strip()] = scopes.split() if divided else []
    return found


def _lines(pairs: Mapping[str, Iterable[str]]) -> str:
    return "\n".join(f"{name} = {' '.join(scopes)}".removesuffix(" = ") for name, scopes in pairs.items())
