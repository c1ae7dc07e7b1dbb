"""How the processes of one gateway reach each other: ``memory.py`` for one process, ``redis.py`` for many."""
