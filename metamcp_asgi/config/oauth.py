"""The ``oauth`` of an endpoint in a document: ``true`` for our own authorization server, an object for more.

Knows the words and what goes together. Whether an issuer can be reached is not looked at here.
"""

import re
from typing import Any, Final
from urllib.parse import urlsplit

from metamcp_asgi.config.dialects import escaped
from metamcp_asgi.config.node import Node
from metamcp_asgi.config.snapshot import OAuth

__all__ = ["BASE_SCOPE", "compile_oauth", "document_of_oauth"]

BASE_SCOPE: Final = "admin"
"""What our own authorization server gives when nothing else is asked for; MetaMCP's only scope."""

_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,100}")  # RFC 6749 3.3
_CLAIM: Final = re.compile(r"[^\s.]+(\.[^\s.]+)*")
_FOREIGN: Final = ("audience", "jwksUri", "principalClaim", "nameClaim", "groupsClaim", "groups")


def compile_oauth(node: Node) -> OAuth | None:
    """Compile an endpoint's ``oauth``; ``None`` for ``false``.

    Raises:
        ConfigError: Something in it is wrong.
    """
    if isinstance(node.value, bool):
        return OAuth(scopes=(BASE_SCOPE,)) if node.value else None
    if not isinstance(node.value, dict):
        raise node.error("must be true, false, or an object")
    given: dict[str, Any] = node.read(
        {
            "issuer": _url,
            "audience": _audiences,
            "scopes": _scopes,
            "toolScopes": lambda tools: tuple((_pattern(name, each), _scopes(each)) for name, each in tools.entries()),
            "jwksUri": _url,
            "principalClaim": _claim,
            "nameClaim": _claim,
            "groupsClaim": _claim,
            "groups": lambda groups: tuple((name, _scopes(each)) for name, each in groups.entries()),
        }
    )
    if "issuer" not in given:
        for key in _FOREIGN:
            if key in given:
                raise node.at(key).error('goes with "issuer" only: our own tokens need no such thing')
    return OAuth(
        issuer=given.get("issuer", ""),
        audiences=given.get("audience", ()),
        scopes=given.get("scopes", () if "issuer" in given else (BASE_SCOPE,)),
        tool_scopes=given.get("toolScopes", ()),
        jwks_uri=given.get("jwksUri", ""),
        principal_claim=given.get("principalClaim", "sub"),
        name_claim=given.get("nameClaim", ""),
        groups_claim=given.get("groupsClaim", "groups"),
        groups=given.get("groups"),
    )


def document_of_oauth(oauth: OAuth) -> bool | dict[str, Any]:
    """Return what ``compile_oauth`` would make ``oauth`` of."""
    entry: dict[str, Any] = {}
    if oauth.issuer:
        entry["issuer"] = escaped(oauth.issuer)
    if oauth.audiences:
        entry["audience"] = [escaped(each) for each in oauth.audiences]
    if oauth.scopes != (() if oauth.issuer else (BASE_SCOPE,)):
        entry["scopes"] = [escaped(each) for each in oauth.scopes]
    if oauth.tool_scopes:
        entry["toolScopes"] = {name: [escaped(each) for each in scopes] for name, scopes in oauth.tool_scopes}
    if oauth.jwks_uri:
        entry["jwksUri"] = escaped(oauth.jwks_uri)
    for key, value, default in (
        ("principalClaim", oauth.principal_claim, "sub"),
        ("nameClaim", oauth.name_claim, ""),
        ("groupsClaim", oauth.groups_claim, "groups"),
    ):
        if value != default:
            entry[key] = escaped(value)
    if oauth.groups is not None:
        entry["groups"] = {name: [escaped(each) for each in scopes] for name, scopes in oauth.groups}
    return entry or True


def _url(node: Node) -> str:
    text = node.text()
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or "@" in parts.netloc or not re.fullmatch(r"[!-~]{1,2000}", text):
        raise node.error("must be a URL that begins with https://, without user, query or fragment")
    return text


def _audiences(node: Node) -> tuple[str, ...]:
    if isinstance(node.value, str):
        return (node.text(),)
    return tuple(each.text() for each in node.items())


def _scopes(node: Node) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_scope(each) for each in node.items()))


def _scope(node: Node) -> str:
    text = node.text()
    if not _SCOPE.fullmatch(text):
        raise node.error('must be a scope: printable ASCII without spaces, " and \\, 100 characters at most')
    return text


def _pattern(name: str, node: Node) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.*-]{1,128}", name):
        raise node.error('must be the published name of a tool, such as "files__write", or a pattern with *')
    return name


def _claim(node: Node) -> str:
    text = node.text()
    if not _CLAIM.fullmatch(text):
        raise node.error('must be the name of a claim, or a path such as "realm_access.roles"')
    return text
