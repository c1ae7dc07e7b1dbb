"""The ``oauth`` of a server's entry: how the gateway gets tokens for it. Read, and written again."""

import re
from collections.abc import Callable
from typing import Any, Final

from metamcp_asgi.config.dialects import escaped
from metamcp_asgi.config.node import Node
from metamcp_asgi.config.private_keys import ALGORITHMS, read_key
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
            "privateKey": Node.text,
            "keyId": _credential,
            "algorithm": lambda algorithm: algorithm.choice(ALGORITHMS),
            "scopes": _scopes,
        }
    )
    flow, per = given.get("flow", "authorization_code"), given.get("grant", "server")
    if "clientSecret" in given and "clientId" not in given:
        raise node.error('has a "clientSecret" without a "clientId"')
    _check_key(node, given)
    if flow == "client_credentials":
        if "clientSecret" not in given and "privateKey" not in given:
            raise node.error('needs "clientId", and "clientSecret" or "privateKey", for the flow client_credentials')
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
        private_key=given.get("privateKey"),
        key_id=given.get("keyId"),
        algorithm=given.get("algorithm"),
        scopes=given.get("scopes", ()),
    )


def entry_of(spec: GrantSpec, written: Callable[[str, str], str]) -> dict[str, Any] | bool:
    """Return what compiles to ``spec``.

    Args:
        spec: How tokens are got.
        written: Gives what is written for a secret, by its label and value.
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
    if spec.client_secret is not None:
        entry["clientSecret"] = written("client_secret", spec.client_secret)
    if spec.private_key is not None:
        entry["privateKey"] = written("private_key", spec.private_key)
    if spec.key_id is not None:
        entry["keyId"] = escaped(spec.key_id)
    if spec.algorithm is not None:
        entry["algorithm"] = spec.algorithm
    if spec.scopes:
        entry["scopes"] = [escaped(scope) for scope in spec.scopes]
    return entry or True


def _check_key(node: Node, given: dict[str, Any]) -> None:
    """Let pass a private key that can be used, and what goes with it."""
    if "privateKey" not in given:
        for key in ("keyId", "algorithm"):
            if key in given:
                raise node.at(key).error('is for a "privateKey", and there is none')
        return
    if "clientSecret" in given:
        raise node.at("privateKey").error('is there beside a "clientSecret"; keep one of them')
    if "clientId" not in given:
        raise node.error('has a "privateKey" without a "clientId"')
    try:
        algorithms = read_key(given["privateKey"]).algorithms
    except ValueError as error:
        raise node.at("privateKey").error(str(error)) from None
    if given.get("algorithm", algorithms[0]) not in algorithms:
        raise node.at("algorithm").error(f"does not fit the key, which signs with {', '.join(algorithms)}")


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
