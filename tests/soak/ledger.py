"""What became of each call, and what should not have: the count at the end. Knows nothing of how calls are made."""

import collections
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MARGIN = 10.0
"""Seconds after a worker was killed within which its connections are found to be broken."""
PATIENCE = 45.0
"""Seconds after which an answer will not come any more."""


@dataclass(slots=True)
class Entry:
    """One call.

    Args:
        kind: Of the client.
        began: When it was sent, on the monotonic clock.
        answers: `result`, `error`, `cut` (the connection broke), `left` (we closed it), or a violation in words.
        ended: When it was answered.
    """

    kind: str
    began: float
    answers: list[str] = field(default_factory=list)
    ended: float = 0.0


class Ledger:
    """All calls of a soak, the killings, and everything that was wrong."""

    def __init__(self) -> None:
        self.calls: dict[str, Entry] = {}
        self.kills: list[float] = []
        self.faults: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.errors: collections.Counter[str] = collections.Counter()
        self.told = 0
        self._numbers = itertools.count()

    def begin(self, kind: str) -> str:
        """Returns the id of a new call, which names who makes it."""
        call = f"{kind}-{next(self._numbers)}"
        self.calls[call] = Entry(kind, time.monotonic())
        return call

    def end(self, call: str, answer: str, why: str = "") -> None:
        """Notes an answer."""
        entry = self.calls[call]
        entry.answers.append(answer)
        entry.ended = time.monotonic()
        if why:
            self.errors[why] += 1

    def violation(self, what: str) -> None:
        """Notes something that must not be."""
        self.wrong.append(what)

    def audit(self, logs: list[Path]) -> Iterator[str]:
        """Yields every violation, after the servers have ended."""
        yield from self.wrong
        done = collections.Counter(line for log in logs for line in log.read_text().splitlines())
        for call, times in done.items():
            if call not in self.calls:
                yield f"{call} was done and never asked for"
            elif times > 1:
                yield f"{call} was done {times} times"
        for call, entry in self.calls.items():
            if len(entry.answers) != 1:
                yield f"{call} was answered {len(entry.answers)} times: {entry.answers}"
            elif entry.answers == ["result"] and not done[call]:
                yield f"{call} had a result and was not done"
            elif entry.answers == ["cut"] and not self._killed_between(entry.began, entry.ended):
                yield f"{call}: the connection broke, and no worker was killed"

    def _killed_between(self, began: float, ended: float) -> bool:
        return any(began - MARGIN <= kill <= ended for kill in self.kills)

    def table(self) -> Iterator[tuple[str, int, int, int, int, int]]:
        """Yields for each kind of client how many calls there were, and how they ended."""
        for kind in sorted({entry.kind for entry in self.calls.values()}):
            of_kind = [entry for entry in self.calls.values() if entry.kind == kind]
            ends = collections.Counter(entry.answers[0] for entry in of_kind if entry.answers)
            yield kind, len(of_kind), ends["result"], ends["error"], ends["cut"], ends["left"]
