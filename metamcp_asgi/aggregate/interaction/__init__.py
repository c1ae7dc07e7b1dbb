"""Calls in the middle of which a server needs the client's input, between clients and servers of either era.

``questions.py`` checks and words what is asked, ``pages.py`` knows of pages that users open, ``state.py`` is what a
modern client carries between two rounds, ``parking.py`` holds a legacy server's call while a modern client is away,
``relayed.py`` asks a legacy client, ``rounds.py`` does so on behalf of a modern server, and ``interaction.py`` chooses
among them.
"""
