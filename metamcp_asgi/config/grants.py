"""The ``oauth`` of a server's entry: how the gateway gets tokens for it. Read, and written again."""

import re
from typing import Any, Final

from metamcp_asgi.config.dialects import escaped
from metamcp_asgi.config.node import Node
from metamcp_asgi.config.snapshot import GrantSpec

__all__ = ["entry_of", "grant_of"]

_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749 section 3.3
_VISIBLE: Final = re.compile(r"[\x20-\x7e]+")  # RFC 6749 appendix A


def grant_of(node: Node, server: str) -> GrantSpec:
    """Compile ``oauth``: ``false``, or an object.

    Args:
        node: The value.
        server: The name of the server, under which its grants are kept.

    Raises:
        ConfigError: It is wrong.
    """
    if isinstance(node.value, bool):
        if node.flag():
            return GrantSpec(key=server)
        return GrantSpec(key=server, flow="none")
    given = node.read(
        {
            "grant": lambda grant: grant.choice(("server", "user")),
            "flow": lambda flow: flow.choice(("authorization_code", "client_credentials")),
            "clientId": _credential,
            "clientSecret": _credential,
            "scopes": _scopes,
        }
    )
    flow, per = given.get("flow", "authorization_code"), given.get("grant", "server")
    if "clientSecret" in given and "clientId" not in given:
        raise node.error('has a "clientSecret" without a "clientId"')
    if flow == "client_credentials":
        if "clientSecret" not in given:
            raise node.error('needs "clientId" and "clientSecret" for the flow client_credentials')
        if per == "user":
            raise node.error(
                '"grant": "user" needs each user to agree, which the flow client_credentials has nobody do'
            )
    return GrantSpec(
        key=server,
        per=per,
        flow=flow,
        client_id=given.get("clientId"),
        client_secret=given.get("clientSecret"),
        scopes=given.get("scopes", ()),
    )


def entry_of(spec: GrantSpec, secret: str | None) -> dict[str, Any] | bool:
    """Return what compiles to ``spec``.

    Args:
        spec: How tokens are got.
        secret: What is written for the client's secret, where there is one.
    """
    if spec.flow == "none":
        return False
    entry: dict[str, Any] = {}
    if spec.per != "server":
        entry["grant"] = spec.per
    if spec.flow != "authorization_code":
        entry["flow"] = spec.flow
    if spec.client_id is not None:
        entry["clientId"] = escaped(spec.client_id)
    if secret is not None:
        entry["clientSecret"] = secret
    if spec.scopes:
        entry["scopes"] = [escaped(scope) for scope in spec.scopes]
    return entry or True


def _credential(node: Node) -> str:
    text = node.text()
    if not _VISIBLE.fullmatch(text):
        raise node.error("has characters that it must not have, such as a line break (RFC 6749 appendix A)")
    return text


def _scopes(node: Node) -> tuple[str, ...]:
    scopes = node.texts()
    for item, scope in zip(node.items(), scopes, strict=True):
        if not _SCOPE.fullmatch(scope):
            raise item.error("is no scope: write one in each text, without spaces or quotes")
    return scopes
