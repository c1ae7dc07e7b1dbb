"""``python -m metamcp_asgi``: the same as the command ``metamcp``."""

from metamcp_asgi.cli import main

main()
