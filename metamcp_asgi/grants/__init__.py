"""What the gateway may do at servers that ask for OAuth: it is their client here, and holds the tokens.

A *grant* is what an authorization server has let us do at one server, for everybody or on behalf of one user. Rooms:
``discovery.py`` (whom to ask), ``registration.py`` (as whom), ``flow.py`` (a person agrees), ``tokens.py`` (codes and
refresh tokens become access tokens), ``kept.py`` and ``rows.py`` (where they lie), ``grant.py`` (what a session to a
server uses), ``book.py`` (all of a process), ``connect.py`` (a person connects a server).
"""
