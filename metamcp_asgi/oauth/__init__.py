"""Our own authorization server, for gateways whose people have no other: OAuth 2.1 as MCP clients use it.

``application.py`` has the sites. A person signs in (``signin``), allows a client on a page of its own
(``authorize.py``), and the client fetches tokens (``token.py``): access tokens that the data path verifies by itself
(``signing.py``), and refresh tokens of which each is good once. Clients are known to the store, or by the URL of a
document (``clients.py``).

Why not by the handlers of ``mcp.server.auth``, nor authlib's: the former need every client's secret in plain text, know
neither client credentials nor metadata documents nor ``iss``, and import the SDK and pydantic (0.7 s and 25 MB); the
latter asks its database synchronously. Both are peers in the tests. Signatures are PyJWT's and cryptography's.
"""
