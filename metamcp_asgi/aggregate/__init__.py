"""The era-neutral core: a ``Call`` goes in, an ``Outcome`` comes out. Knows nothing of HTTP or sockets."""
