"""Stdio servers that live in a process of their own, the companion, which all workers of a machine use.

``hub`` and ``connection`` are the companion's side, ``client``, ``conversation`` and ``remote`` the worker's; ``link``
and ``wire`` are what both speak over a Unix socket. The servers themselves are ``upstream.server``'s in both processes.
"""
