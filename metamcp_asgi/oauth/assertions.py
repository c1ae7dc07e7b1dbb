"""Assertions of the OpenID provider that let a client have an access token, read and checked (ID-JAG).

By draft-ietf-oauth-identity-assertion-authz-grant, as it is used by MCP's extension
``io.modelcontextprotocol/enterprise-managed-authorization``: an organization says at its provider which client may use
which MCP server for whom, and nobody is asked again. Whether an assertion came before is ``grants``' matter.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from metamcp_asgi.oauth.errors import OAuthError
from metamcp_asgi.oauth.metadata import Client
from metamcp_asgi.oauth.vouching import Vouched, Vouching
from metamcp_asgi.signin.provider import known_of
from metamcp_asgi.tokens.claims import type_of

__all__ = ["ID_JAG_PROFILE", "ID_JAG_TYPE", "Assertions"]

ID_JAG_PROFILE: Final = "urn:ietf:params:oauth:grant-profile:id-jag"
ID_JAG_TYPE: Final = "oauth-id-jag+jwt"

LONGEST_SECONDS: Final = 3600
"""How long an assertion may be good from now on: it is for one use, and at once."""


class Assertions:
    """Reads assertions.

    Args:
        vouching: Knows the provider and its people.
    """

    def __init__(self, vouching: Vouching) -> None:
        self.vouching = vouching

    async def read(self, form: Mapping[str, str], client: Client, issuer: str) -> Vouched:
        """Return what an assertion says.

        Args:
            form: The request, with the assertion.
            client: Who shows it.
            issuer: We, to whom it must be addressed.

        Raises:
            OAuthError: It is not good, or not for this client; or the provider cannot be asked (503).
        """
        text, refused = form.get("assertion", ""), self.vouching.refused
        if not client.proven:  # security considerations, "Client Authentication"
            raise OAuthError("unauthorized_client", "only a client that authenticates may show an assertion")
        if not text:
            raise OAuthError("invalid_request", "assertion is missing")
        header, claims = await self.vouching.signed(text)
        if type_of(header) != ID_JAG_TYPE:
            raise refused(f'the typ of its header must be "{ID_JAG_TYPE}"')
        self.vouching.check_times(claims, LONGEST_SECONDS, ("iat",))
        audience = claims.get("aud")
        if audience not in (issuer, [issuer], f"{issuer}/", [f"{issuer}/"]):
            raise refused(f"its aud must be our issuer, {issuer}, and nobody else")
        if claims.get("client_id") != client.client_id:
            raise refused("its client_id is not the client that shows it")
        if "cnf" in claims:  # what we would give for it could be used by anybody who has it
            raise refused("it is bound to a key (cnf), and tokens of ours are not")
        identity = self.vouching.text(claims, "jti")
        resource = claims.get("resource")
        if isinstance(resource, list) and len(resource) == 1:
            resource = resource[0]
        if not isinstance(resource, str):
            raise OAuthError("invalid_target", "the assertion's resource must be the URL of one endpoint")
        scope = claims.get("scope")
        if not isinstance(scope, str | None):
            raise refused("its scope must be a text")
        self.vouching.text(claims, "sub")
        until = datetime.fromtimestamp(claims["exp"], UTC)
        return Vouched(
            id=identity, known=known_of(claims), resource=resource, scope=scope or None, until=until, once=True
        )
