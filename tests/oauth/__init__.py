"""OAuth: the resource server, our authorization server, somebody else's issuer."""
