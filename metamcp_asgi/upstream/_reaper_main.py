"""The watchdog process: kills the process groups it was told of when its standard input ends.

Run by ``reaper.py`` as a script, never imported by the gateway. It imports nothing but two modules that are built into
the interpreter, because it stays in memory for as long as the gateway lives.
"""

import posix
import time

_SIGTERM = 15
_SIGKILL = 9
_GRACE = 1.0
_POLL = 0.02


def _signal(groups: set[int], number: int) -> set[int]:
    """Send signal ``number`` to each of ``groups`` and return those that still exist."""
    left = set()
    for group in groups:
        try:
            posix.killpg(group, number)
        except ProcessLookupError:
            continue
        except PermissionError:
            # Its members run as somebody else now: out of our hands.
            continue
        left.add(group)
    return left


def _read_groups() -> set[int]:
    """Follow ``+PGID`` and ``-PGID`` lines until the gateway is gone; return the groups it left behind."""
    groups: set[int] = set()
    rest = b""
    while data := posix.read(0, 65536):
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            (groups.add if line[:1] == b"+" else groups.discard)(int(line[1:]))
    return groups


def main() -> None:
    """Wait for the end of the gateway, then end what it left: SIGTERM, up to a second of grace, SIGKILL."""
    groups = _signal(_read_groups(), _SIGTERM)
    deadline = time.monotonic() + _GRACE
    while groups and time.monotonic() < deadline:
        time.sleep(_POLL)
        groups = _signal(groups, 0)
    _signal(groups, _SIGKILL)


if __name__ == "__main__":
    main()
