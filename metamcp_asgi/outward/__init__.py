"""Requests to URLs that somebody else supplied: refused where they lead inside, and bounded in size and time."""
