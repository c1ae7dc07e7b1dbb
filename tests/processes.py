"""Programs run as private instances of a test: ours and other makers', each on a port of its own.

Knows how to start a program, wait for the line that says it is ready, keep what it prints, and end it with everything
that it started. Knows nothing of MCP, nor of what the programs are for; where they are installed is in `places`.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO


def free_port() -> int:
    """Returns a TCP port of the loopback that nothing listens on, for programs that can't pick one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Program:
    """A running program whose output is collected line by line.

    Args:
        command: the program and its arguments.
        env: variables added to this process's own.
        cwd: its working directory.
    """

    def __init__(self, command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path | None = None):
        self.command = [str(part) for part in command]
        self._lines: list[str] = []
        self._grew = threading.Condition()
        self._closed = False
        self._process = subprocess.Popen(
            self.command,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._collect, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _collect(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._grew:
                    self._lines.append(line)
                    self._grew.notify_all()
        with self._grew:
            self._closed = True
            self._grew.notify_all()

    @property
    def pid(self) -> int:
        """Process id, which is also its process group's."""
        return self._process.pid

    def output(self) -> str:
        """Everything that was printed so far, stdout and stderr in the order of arrival."""
        with self._grew:
            return "".join(self._lines)

    def wait_for_line(self, pattern: str, timeout: float = 30.0, start: int = 0) -> re.Match[str]:
        """Waits until a line matches.

        Args:
            pattern: regular expression, searched in each line.
            timeout: seconds.
            start: how many lines to pass over, as `line_count` gave it earlier.

        Raises:
            AssertionError: it ended, or the time ran out; with the output.
        """
        expression = re.compile(pattern)
        seen = start

        def next_match() -> re.Match[str] | bool:
            nonlocal seen
            while seen < len(self._lines):
                match = expression.search(self._lines[seen])
                seen += 1
                if match:
                    return match
            return self._closed

        with self._grew:
            found = self._grew.wait_for(next_match, timeout)
        if isinstance(found, re.Match):
            return found
        outcome = "ended" if found else f"did not say {pattern!r} within {timeout:g} s"
        raise AssertionError(f"{' '.join(self.command)} {outcome}:\n{self.output()}")

    def line_count(self) -> int:
        """How many lines were printed so far."""
        with self._grew:
            return len(self._lines)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the program alone."""
        self._process.send_signal(number)

    def stop(self, timeout: float = 10.0) -> int:
        """Asks it to end, insists after `timeout` seconds, and returns its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
        # Whatever it started in its own group must not outlive the test.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        code = self._process.wait()
        self._reader.join(timeout)
        return code


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    ready: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 30.0,
) -> Iterator[tuple[Program, re.Match[str]]]:
    """Runs a program for the length of a `with` block.

    Args:
        command, env, cwd: as for `Program`.
        ready: regular expression of the line that says it is ready.
        timeout: seconds to wait for that line.

    Yields:
        The program, and the match of `ready`.
    """
    program = Program(command, env, cwd)
    try:
        yield program, program.wait_for_line(ready, timeout)
    finally:
        program.stop()
