"""Calls that outlive their request: the tasks of 2025-11-25 and the tasks extension of 2026-07-28 (eras.md 2.13).

``passing.py`` passes the tasks of modern servers on to clients that follow them; nothing is kept. Every other task is
one of ours: a call that runs on in the process that began it (``held.py``, ``holding.py``), as if its client were
waiting, so middlewares see its result and questions find their way. ``driving.py`` follows the tasks of servers to
their end, for such calls and for clients that cannot do that themselves. ``tasks.py`` chooses among them.
"""
