"""The OpenID provider of the gateway, in MetaMCP's ``OIDC_*`` variables: authorization code flow with PKCE.

Discovery, the code's exchange and the checks of the ID token (OpenID Connect Core 3.1.3) are Authlib's and joserfc's;
here is what they are asked for. Knows nothing of users and sessions.
"""

import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from metamcp_asgi.errors import ConfigError, MetaMCPError
from metamcp_asgi.pages.i18n import MISSING

if TYPE_CHECKING:
    from authlib.integrations.httpx_client import AsyncOAuth2Client
    from joserfc.jwt import Token

__all__ = ["OIDC", "Begun", "Forged", "Known", "Provider", "ProviderError", "known_of"]

logger = logging.getLogger("metamcp.signin")

TIMEOUT: Final = 10.0
"""Seconds that the provider may take to answer."""
FRESH: Final = 3600.0
"""Seconds after which the provider's description and keys are read again."""
PAUSE: Final = 10.0
"""Seconds after which a provider that could not be read is asked again: anybody can have it asked."""
LEEWAY: Final = 120
"""Seconds by which its clock may differ."""
# Of one's own key the provider's client is the only other holder; and "none" is no signature at all.
_ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"}
)


class OIDC(Struct, frozen=True, kw_only=True):
    """What is known of the provider, from the environment.

    Args:
        client_id: ``OIDC_CLIENT_ID``.
        client_secret: ``OIDC_CLIENT_SECRET``; without one, the client is a public one.
        discovery_url: ``OIDC_DISCOVERY_URL``, which ends with ``/.well-known/openid-configuration``.
        authorization_url: ``OIDC_AUTHORIZATION_URL``, where browsers reach the provider under another address.
        provider_id: ``OIDC_PROVIDER_ID``, the last part of the redirect URI.
        scopes: ``OIDC_SCOPES``.
        pkce: ``OIDC_PKCE``.
    """

    client_id: str
    client_secret: str | None
    discovery_url: str
    authorization_url: str | None = None
    provider_id: str = "oidc"
    scopes: str = "openid email profile"
    pkce: bool = True

    def __repr__(self) -> str:
        return f"OIDC(client_id={self.client_id!r}, discovery_url={self.discovery_url!r}, <hidden>)"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "OIDC | None":
        """Return the provider, ``None`` when none is set up.

        Args:
            environ: The variables.

        Raises:
            ConfigError: A part is missing or wrong.
        """
        given = {name: environ.get(name, "").strip() for name in ("OIDC_CLIENT_ID", "OIDC_DISCOVERY_URL")}
        if not any(given.values()):
            return None
        for name, value in given.items():
            if not value:
                raise ConfigError("must be set, too, for people to sign in with OIDC", path=name, source="environment")
        authorization = environ.get("OIDC_AUTHORIZATION_URL", "").strip() or None
        for name, url in (
            ("OIDC_DISCOVERY_URL", given["OIDC_DISCOVERY_URL"]),
            ("OIDC_AUTHORIZATION_URL", authorization),
        ):
            if url is not None and not url.startswith(("https://", "http://")):
                raise ConfigError("must be a URL that begins with https://", path=name, source="environment")
        scopes = environ.get("OIDC_SCOPES", "").replace(",", " ").split() or ["openid", "email", "profile"]
        return cls(
            client_id=given["OIDC_CLIENT_ID"],
            client_secret=environ.get("OIDC_CLIENT_SECRET", "").strip() or None,
            discovery_url=given["OIDC_DISCOVERY_URL"],
            authorization_url=authorization,
            provider_id=environ.get("OIDC_PROVIDER_ID", "").strip() or "oidc",
            scopes=" ".join(scopes if "openid" in scopes else ["openid", *scopes]),
            # As in MetaMCP, anything but this leaves it on.
            pkce=environ.get("OIDC_PKCE", "").strip().lower() != "false",
        )


class ProviderError(MetaMCPError):
    """The provider cannot be used, or what it says is not to be believed; the message is for the operator."""


class Forged(ProviderError):
    """A JWT that somebody shows is not the provider's."""


class Begun(Struct, frozen=True):
    """A sign-in at the provider, of which the browser keeps all but the URL.

    Args:
        url: Where the browser goes.
        state: What it comes back with.
        nonce: What the ID token will have.
        verifier: What the code's exchange needs.
    """

    url: str
    state: str
    nonce: str
    verifier: str


class Known(Struct, frozen=True):
    """Whom the provider knows.

    Args:
        issuer: The provider.
        subject: Who it is, there and for good.
        email: The email address; may be empty.
        verified: Whether the provider says that it is theirs: ``None`` when it says nothing.
        name: The name; may be empty.
    """

    issuer: str
    subject: str
    email: str
    verified: bool | None
    name: str


class Provider:
    """The provider.

    Args:
        oidc: What is known of it.
        clock: Seconds, never going backwards.
    """

    def __init__(self, oidc: OIDC, clock: Callable[[], float] = time.monotonic) -> None:
        self.oidc = oidc
        self._clock = clock
        self._metadata: Mapping[str, Any] = {}
        self._keys: Any = None
        self._read_at = 0.0
        self._failed: tuple[float, str] | None = None
        """When the provider was asked last without success, and what came of it."""
        self._sought = -PAUSE
        """When its keys were read again because somebody named one that is not there."""

    async def begin(self, redirect_uri: str) -> Begun:
        """Return where the browser goes to sign in.

        Args:
            redirect_uri: Where it comes back to.

        Raises:
            ProviderError: The provider cannot be used.
        """
        metadata = await self._described()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        async with self._client(redirect_uri) as client:
            where = self.oidc.authorization_url or _url(metadata, "authorization_endpoint")
            used = verifier if self.oidc.pkce else None
            url, _ = client.create_authorization_url(where, state, used, nonce=nonce)
        return Begun(url, state, nonce, verifier)

    async def finish(self, begun: Begun, redirect_uri: str, code: str, issuer: str | None) -> Known:
        """Return who has signed in.

        Args:
            begun: What ``begin`` returned, as the browser kept it.
            redirect_uri: As for ``begin``.
            code: What the browser came back with.
            issuer: Who it says has sent it (RFC 9207), if it does.

        Raises:
            ProviderError: The provider cannot be used, or what it says is not to be believed.
        """
        metadata = await self._described()
        if issuer is not None and issuer != metadata["issuer"]:
            raise ProviderError(f"the answer is from {issuer!r} and not from {metadata['issuer']!r}")
        try:
            async with self._client(redirect_uri) as client:
                verifier = {"code_verifier": begun.verifier} if self.oidc.pkce else {}
                token = await client.fetch_token(
                    _url(metadata, "token_endpoint"), grant_type="authorization_code", code=code, **verifier
                )
                claims = await self._claims(token, begun.nonce)
                if "email" not in claims and metadata.get("userinfo_endpoint"):
                    answer = await client.get(_url(metadata, "userinfo_endpoint"))
                    answer.raise_for_status()
                    more = answer.json()
                    if more.get("sub") != claims["sub"]:  # OpenID Connect Core 5.3.2
                        raise ProviderError("its userinfo is of somebody else")
                    claims = {**more, **claims}
        except ProviderError:
            raise
        except Exception as error:
            # Authlib, joserfc and the HTTP client have many; each means that nobody is let in.
            raise ProviderError(f"the code was not exchanged: {type(error).__name__}: {error}") from error
        return known_of(claims)

    async def read(self, text: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return header and claims of a JWT that the provider signed; whom it is for and its times are not looked at.

        Args:
            text: The JWT, from anybody.

        Raises:
            Forged: It is no JWT of the provider's.
            ProviderError: The provider cannot be used.
        """
        metadata = await self._described()
        try:
            decoded = await self._decoded(text, _ALGORITHMS, anybody=True)
        except ProviderError:
            raise
        except Exception as error:
            # As in ``finish``: whatever joserfc says, nobody is let in.
            raise Forged(f"it is no JWT that the provider signed: {type(error).__name__}") from None
        if decoded.claims.get("iss") != metadata["issuer"]:
            raise Forged("its iss is not the provider's issuer")
        return decoded.header, decoded.claims

    async def _claims(self, token: Mapping[str, Any], nonce: str) -> dict[str, Any]:
        from authlib.oidc.core import CodeIDToken

        offered = self._metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        text = token.get("id_token")
        if not isinstance(text, str):
            raise ProviderError("it gave no ID token; OIDC_SCOPES needs openid")
        decoded = await self._decoded(text, _ALGORITHMS & set(offered))
        expected = {
            "iss": {"essential": True, "value": self._metadata["issuer"]},
            "aud": {"essential": True, "value": self.oidc.client_id},
        }
        known = {"nonce": nonce, "client_id": self.oidc.client_id, "access_token": token.get("access_token")}
        claims = CodeIDToken(decoded.claims, decoded.header, expected, known)
        claims.validate(leeway=LEEWAY)
        return dict(claims)

    async def _decoded(self, text: str, algorithms: Collection[str], *, anybody: bool = False) -> "Token":
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError
        from joserfc.jws import JWSRegistry

        registry = JWSRegistry(algorithms=sorted(algorithms), strict_check_header=False)
        try:
            return jwt.decode(text, self._keys, registry=registry)
        except InvalidKeyIdError:  # it has a new key since
            if anybody:  # or there is no such key, and whoever named it would have us ask the provider each time
                if self._clock() - self._sought < PAUSE:
                    raise
                self._sought = self._clock()
            await self._describe()
            return jwt.decode(text, self._keys, registry=registry)

    async def _described(self) -> Mapping[str, Any]:
        if not self._metadata or self._clock() - self._read_at > FRESH:
            if self._failed is not None and self._clock() - self._failed[0] < PAUSE:
                raise ProviderError(self._failed[1])
            try:
                await self._describe()
            except ProviderError as error:
                self._failed = self._clock(), str(error)
                raise
        return self._metadata

    async def _describe(self) -> None:
        """Read the provider's description and its keys."""
        try:
            from joserfc.jwk import KeySet

            async with self._client("") as client:
                answer = await client.request("GET", self.oidc.discovery_url, withhold_token=True)
                answer.raise_for_status()
                metadata = answer.json()
                keys = await client.request("GET", _url(metadata, "jwks_uri"), withhold_token=True)
                keys.raise_for_status()
                self._keys = KeySet.import_key_set(keys.json())
            if not isinstance(metadata.get("issuer"), str):
                raise ProviderError("its description has no issuer")
        except ProviderError:
            raise
        except Exception as error:
            # Of the HTTP client, of JSON and of joserfc: the provider is not there, or is none.
            raise ProviderError(f"{self.oidc.discovery_url} cannot be used: {type(error).__name__}: {error}") from error
        self._metadata, self._read_at = metadata, self._clock()

    def _client(self, redirect_uri: str) -> "AsyncOAuth2Client":
        try:
            from authlib.integrations.httpx_client import AsyncOAuth2Client
        except ImportError:
            raise ProviderError(MISSING) from None
        methods = self._metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        method = "client_secret_basic" if "client_secret_basic" in methods else "client_secret_post"
        return AsyncOAuth2Client(
            client_id=self.oidc.client_id,
            client_secret=self.oidc.client_secret,
            token_endpoint_auth_method=method if self.oidc.client_secret else "none",
            scope=self.oidc.scopes,
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
            timeout=TIMEOUT,
            follow_redirects=False,
        )


def known_of(claims: Mapping[str, Any]) -> Known:
    """Return whom claims of the provider are about.

    Args:
        claims: Those of an ID token, or of another assertion; ``iss`` and ``sub`` are among them.
    """
    verified = claims.get("email_verified")
    return Known(
        issuer=str(claims["iss"]),
        subject=str(claims["sub"]),
        email=str(claims.get("email") or "").strip().lower(),
        # Some providers write it as a text.
        verified=None if verified is None else verified is True or verified == "true",
        name=str(claims.get("name") or "")[:200],
    )


def _url(metadata: Mapping[str, Any], name: str) -> str:
    url = metadata.get(name)
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise ProviderError(f"its description has no {name}")
    return url
