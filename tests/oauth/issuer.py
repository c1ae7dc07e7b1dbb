"""An issuer of access tokens under the control of a test: its keys come and go, and it says what it is told to."""

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.types import Receive, Scope, Send


class Issuer:
    """An OpenID provider as far as a resource server needs it; ``asked`` counts the readings of its keys."""

    def __init__(self) -> None:
        self.url = ""
        self.says: dict[str, Any] = {}
        self.asked = 0
        self.keys: dict[str, Any] = {}
        self.add("one")

    def add(self, kid: str, kind: str = "ES256") -> None:
        """Makes a key; the newest signs."""
        private = ec.generate_private_key(ec.SECP256R1()) if kind == "ES256" else rsa.generate_private_key(65537, 2048)
        self.keys[kid] = (private, kind)

    def token(self, audience: Any, kid: str | None = None, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        kid = kid or list(self.keys)[-1]
        private, kind = self.keys[kid]
        said = {"iss": self.url, "aud": audience, "exp": int(time.time()) + 300, "sub": "u1", **claims}
        said = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(said, private, kind, headers={"kid": kid, **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, document = 200, {}
        if scope["path"] == "/.well-known/openid-configuration":
            document = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks", **self.says}
        elif scope["path"] == "/jwks":
            self.asked += 1
            document = {"keys": [jwk(kid, *key) for kid, key in self.keys.items()]}
        else:
            status = 404
        body = json.dumps(document).encode()
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": body})


def jwk(kid: str, private: Any, kind: str) -> dict[str, Any]:
    algorithm = jwt.algorithms.ECAlgorithm if kind == "ES256" else jwt.algorithms.RSAAlgorithm
    return {**json.loads(algorithm.to_jwk(private.public_key())), "kid": kid, "use": "sig", "alg": kind}
