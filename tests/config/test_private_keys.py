"""The private key with which the gateway shows a server's authorization server who it is, as a file gives it."""

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from metamcp_asgi.config.export import export
from metamcp_asgi.config.file import compile_document
from metamcp_asgi.config.private_keys import read_key
from metamcp_asgi.config.references import with_references
from metamcp_asgi.errors import ConfigError
from tests.snapshots import PRIVATE_KEY

P256 = ec.derive_private_key(7, ec.SECP256R1())
JWK = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(P256))


def pem(key: Any, passphrase: bytes = b"") -> str:
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode())


def mismatched() -> str:
    """Returns a key whose modulus is even, and so not of its primes."""
    good = rsa.generate_private_key(65537, 2048)
    modulus = good.public_key().public_numbers().n
    der = good.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    wrong = der.replace(modulus.to_bytes(256), (modulus - 1).to_bytes(256))
    return f"-----BEGIN PRIVATE KEY-----\n{base64.encodebytes(wrong).decode()}-----END PRIVATE KEY-----\n"


def document(**oauth: Any) -> dict[str, Any]:
    return {"mcpServers": {"a": {"url": "http://h.example/mcp", "oauth": {"clientId": "me", **oauth}}}}


def test_a_key_says_what_it_signs_with() -> None:
    rsa_key = rsa.generate_private_key(65537, 2048)
    for text, algorithm, name in (
        (PRIVATE_KEY, "ES256", None),
        (f"\n{PRIVATE_KEY}\n", "ES256", None),
        (pem(ec.derive_private_key(7, ec.SECP384R1())), "ES384", None),
        (pem(ec.derive_private_key(7, ec.SECP521R1())), "ES512", None),
        (pem(ed25519.Ed25519PrivateKey.generate()), "EdDSA", None),
        (pem(rsa_key), "RS256", None),
        (json.dumps({**JWK, "kid": "one"}), "ES256", "one"),
        (json.dumps({**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key)), "alg": "PS384"}), "PS384", None),
    ):
        key = read_key(text)
        assert (key.algorithms[0], key.id) == (algorithm, name)
        assert jwt.encode({}, key.key, algorithm)


def test_what_is_wrong_with_a_key_is_said_at_its_place_and_never_quoted() -> None:
    table: list[tuple[dict[str, Any], str, str]] = [
        ({"privateKey": PRIVATE_KEY, "clientSecret": "x"}, "privateKey", 'beside a "clientSecret"; keep one'),
        ({"privateKey": PRIVATE_KEY, "algorithm": "RS256"}, "algorithm", "signs with ES256"),
        ({"privateKey": PRIVATE_KEY, "algorithm": "HS256"}, "algorithm", "must be one of"),
        ({"clientSecret": "x", "keyId": "one"}, "keyId", 'is for a "privateKey"'),
        ({"algorithm": "ES256"}, "algorithm", 'is for a "privateKey"'),
        ({"privateKey": pem(P256, b"pass")}, "privateKey", "without a passphrase"),
        ({"privateKey": PRIVATE_KEY.replace("\n", "\\n")}, "privateKey", "line breaks"),
        ({"privateKey": "s3cret"}, "privateKey", "must be a PEM"),
        ({"privateKey": "x" * 5000}, "privateKey", "more than 4096 characters"),
        (
            {"privateKey": P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()},
            "privateKey",
            "must be a PEM",
        ),
        ({"privateKey": pem(rsa.generate_private_key(65537, 1024))}, "privateKey", "at least 2048"),
        ({"privateKey": mismatched()}, "privateKey", "cannot sign"),
        ({"privateKey": pem(x25519.X25519PrivateKey.generate())}, "privateKey", "must be a private key of RSA"),
        ({"privateKey": pem(ec.derive_private_key(7, ec.SECP256K1()))}, "privateKey", "of the curves"),
        ({"privateKey": json.dumps({**JWK, "alg": "RS256"})}, "privateKey", '"alg"'),
        ({"privateKey": json.dumps({n: v for n, v in JWK.items() if n != "d"})}, "privateKey", "must be a private key"),
        ({"privateKey": '{"kty": "oct", "k": "czNjcmV0"}'}, "privateKey", "must be a private key"),
        ({"privateKey": '{"kty": "EC"}'}, "privateKey", "no JWK"),
        ({"privateKey": "{" * 4000}, "privateKey", "no JWK"),
        ({"privateKey": PRIVATE_KEY, "clientId": None}, "clientId", "must be text"),
    ]
    for oauth, place, reason in table:
        with pytest.raises(ConfigError) as caught:
            compile_document(document(**oauth))
        said = str(caught.value)
        assert f"mcpServers.a.oauth.{place}" in said
        assert reason in said
        assert "s3cret" not in said
        assert not any(len(line) > 20 and line in said for line in PRIVATE_KEY.splitlines()[1:-1])


def test_a_key_needs_a_client_and_does_for_its_own_name() -> None:
    with pytest.raises(ConfigError, match='has a "privateKey" without a "clientId"'):
        compile_document({"mcpServers": {"a": {"url": "http://h.example/", "oauth": {"privateKey": PRIVATE_KEY}}}})
    with pytest.raises(ConfigError, match='"clientSecret" or "privateKey", for the flow client_credentials'):
        compile_document(document(flow="client_credentials"))
    grant = compile_document(document(flow="client_credentials", privateKey=PRIVATE_KEY)).servers["a"].grant
    assert grant is not None
    assert PRIVATE_KEY[40:60] not in repr(grant)


def test_a_key_is_exported_as_a_variable_unless_secrets_are_asked_for() -> None:
    given = document(privateKey="${KEY}", keyId="one", algorithm="ES256")
    snapshot = compile_document(given, environ={"KEY": PRIVATE_KEY})
    exported = export(snapshot)
    assert exported.document["mcpServers"]["a"]["oauth"]["privateKey"] == "${A_PRIVATE_KEY}"
    assert exported.variables == {"A_PRIVATE_KEY": PRIVATE_KEY}
    assert compile_document(exported.document, environ=exported.variables) == snapshot
    clear = export(snapshot, with_secrets=True).document
    assert clear["mcpServers"]["a"]["oauth"]["privateKey"] == PRIVATE_KEY
    assert with_references(clear)[0] == exported.document
