"""A private key as it is configured: a PEM or a JWK (RFC 7517), and the algorithms with which it can sign (RFC 7518).

Knows nothing of what is signed. An error never quotes the key.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

__all__ = ["ALGORITHMS", "SigningKey", "read_key"]

_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}

ALGORITHMS: Final = (*_CURVES.values(), "EdDSA", *_RSA)

LONGEST: Final = 4096
"""Characters of a key, which RSA with 4096 bits fits into: a larger one holds up everybody else."""

LEAST_RSA_BITS: Final = 2048
"""RFC 7518 section 3.3."""


class SigningKey(Struct, frozen=True):
    """A private key.

    Args:
        key: What PyJWT signs with.
        algorithms: Those that it is for; the first is the one to take when nobody says.
        id: Its name, which a JWK can have.
    """

    key: Any
    algorithms: tuple[str, ...]
    id: str | None = None

    def __repr__(self) -> str:
        return f"SigningKey(<hidden>, algorithms={self.algorithms!r})"


def read_key(text: str) -> SigningKey:
    """Return the key that a text is.

    Args:
        text: A PEM without a passphrase, or a JWK.

    Raises:
        ValueError: It is none that can sign; the message goes after the name of its place.
    """
    if len(text) > LONGEST:
        raise ValueError(f"has more than {LONGEST} characters; RSA with 4096 bits is the largest key that is taken")
    return _of_jwk(text) if text.lstrip().startswith("{") else SigningKey(*_of_pem(text))


def _of_pem(text: str) -> tuple[Any, tuple[str, ...]]:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        # To check the primes of RSA takes up to a quarter of a second, for which everybody would wait.
        key = load_pem_private_key(text.strip().encode(), None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise ValueError("is encrypted; give the key without a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError(
            'must be a PEM that begins with "-----BEGIN PRIVATE KEY-----" and has its line breaks, or a JWK'
        ) from None
    return key, _algorithms(key)


def _of_jwk(text: str) -> SigningKey:
    try:
        import jwt
    except ImportError:
        raise ValueError('is a JWK, which needs further packages: pip install "metamcp-asgi[oauth]"') from None
    try:
        told = msgspec.json.decode(text, type=dict[str, Any])
        key = jwt.PyJWK({name: value for name, value in told.items() if name != "alg"}).key
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise ValueError('is no JWK of a private key: an object with "kty", "d" and what belongs to its kind') from None
    algorithms, wanted, name = _algorithms(key), told.get("alg"), told.get("kid")
    if wanted is not None:
        if wanted not in algorithms:
            raise ValueError(f'is a JWK whose "alg" is none of those that this key signs with: {", ".join(algorithms)}')
        algorithms = (wanted,)
    return SigningKey(key, algorithms, name if isinstance(name, str) and name else None)


def _algorithms(key: Any) -> tuple[str, ...]:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256

    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < LEAST_RSA_BITS:
            raise ValueError(f"is an RSA key of {key.key_size} bits; it must have at least {LEAST_RSA_BITS}")
        try:
            key.sign(b"", padding.PKCS1v15(), SHA256())
        except ValueError:
            raise ValueError("is an RSA key that cannot sign: its numbers do not belong together") from None
        return _RSA
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return (_CURVES[key.curve.name],)
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return ("EdDSA",)
    raise ValueError("must be a private key of RSA, of the curves P-256, P-384 or P-521, or of Ed25519")
