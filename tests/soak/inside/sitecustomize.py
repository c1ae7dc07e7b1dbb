"""Counts the tasks of each process under soak from inside, and writes that down; found by Python on PYTHONPATH.

Workers are forked, and a thread does not survive that, so it is started in each anew.
"""

import asyncio
import collections
import json
import os
import threading
import time
from pathlib import Path

FOLDER = os.environ.get("SOAK_TASKS")


def _count() -> None:
    place = Path(f"{FOLDER}/{os.getpid()}")
    beside = place.with_suffix(".new")
    while True:
        time.sleep(1)
        # Python 3.14 keeps them elsewhere, and lets only their own thread look.
        known = getattr(asyncio.tasks, "_all_tasks", None)
        if known is None:
            known = asyncio.tasks._scheduled_tasks
        try:
            # Those that are done may wait for the garbage collector.
            alive = [task for task in list(known) if not task.done()]
        except RuntimeError:  # there was one more in the middle of this
            continue
        names = collections.Counter(getattr(task.get_coro(), "__qualname__", "?") for task in alive)
        beside.write_text(json.dumps(names))
        beside.replace(place)


if FOLDER:
    os.register_at_fork(after_in_child=lambda: threading.Thread(target=_count, daemon=True).start())
