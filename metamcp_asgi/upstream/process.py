"""The operating system's side of a child: find the command, start it in its own group, signal the group, see it exit.

Knows nothing of what the pipes carry. ``subprocess.Popen`` is used instead of ``loop.subprocess_exec`` because uvloop
lets a child inherit every inheritable descriptor (a listening socket among them) and gives it sockets for pipes, on
which a script that opens ``/dev/stderr`` fails; because the process id is known before the first await, so that no
process is lost between fork and bookkeeping; and because asyncio of Python 3.11 keeps one thread for each child.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from metamcp_asgi.errors import UpstreamUnavailable

__all__ = ["ProcessGroup", "describe_exit", "start", "when_exited"]


def start(
    command: str, args: Sequence[str], *, env: Mapping[str, str], cwd: str | None, prefix: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start ``command`` with three pipes, as leader of a new session and process group.

    Args:
        command: A name looked up on the child's ``PATH``, or a path; ``~`` is expanded, no shell is involved.
        args: Its arguments, passed on as they are.
        env: The child's complete environment.
        cwd: The directory it starts in (``~`` is expanded); ``None`` for the gateway's own.
        prefix: A program, and its arguments, that becomes the one that comes after it.

    Raises:
        UpstreamUnavailable: It cannot be started.
    """
    directory = None if cwd is None else _directory(cwd)
    program = _program(command, directory, env.get("PATH", os.defpath))
    try:
        return subprocess.Popen(  # noqa: S603 - the configured command is what a stdio server is  # nosec B603
            [*prefix, program, *args],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=directory,
            start_new_session=True,
        )
    except OSError as error:
        # strerror alone: the exception's text repeats whole paths and arguments, which may hold secrets.
        raise UpstreamUnavailable(f"command {command!r} cannot be started: {error.strerror}") from error
    except ValueError as error:
        raise UpstreamUnavailable(
            f"command {command!r} cannot be started: its command, arguments, env or cwd hold a null character, "
            "or the name of a variable holds '='"
        ) from error


def _directory(cwd: str) -> str:
    path = Path(cwd).expanduser()
    if not path.is_dir():
        raise UpstreamUnavailable(f"cwd {cwd!r} {'is not a directory' if path.exists() else 'does not exist'}")
    if not os.access(path, os.X_OK):
        raise UpstreamUnavailable(f"cwd {cwd!r} may not be entered: permission denied")
    return str(path)


def _program(command: str, directory: str | None, search_path: str) -> str:
    """Return the path of the executable file, or raise saying which of the usual mistakes was made."""
    if "/" not in command:
        found = shutil.which(command, path=search_path)
        if found is None:
            raise UpstreamUnavailable(
                f"command {command!r} not found on the PATH of the server; "
                "install it, give its full path, or set PATH in the server's env"
            )
        return found
    # A relative path counts from the directory that the child starts in, as in a shell after `cd`.
    path = Path(directory or ".", Path(command).expanduser()).absolute()
    if not path.exists():
        raise UpstreamUnavailable(f"command {command!r} does not exist")
    if not path.is_file() or not os.access(path, os.X_OK):
        raise UpstreamUnavailable(f"command {command!r} is not an executable file: permission denied")
    return str(path)


def when_exited(process: subprocess.Popen[bytes], callback: Callable[[], None]) -> None:
    """Call ``callback`` once in the running loop after ``process`` has exited and was reaped.

    ``process.returncode`` is set by then.
    """
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        # Not Linux, an old kernel, or a sandbox that forbids the call: a thread does the waiting.
        def wait() -> None:
            process.wait()
            # The loop may have been closed before its child ended; nobody is left to be told then.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(callback)

        threading.Thread(target=wait, name=f"wait-{process.pid}", daemon=True).start()
        return

    def exited() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        process.wait()
        callback()

    loop.add_reader(descriptor, exited)


def describe_exit(returncode: int) -> str:
    """Return how a process ended, in words: ``exited with code 1``, ``killed by SIGKILL``."""
    if returncode >= 0:
        return f"exited with code {returncode}"
    try:
        return f"killed by {signal.Signals(-returncode).name}"
    except ValueError:  # a real-time signal has a number only
        return f"killed by signal {-returncode}"


class ProcessGroup:
    """The process group of a leader that we started; never signals a group that was seen empty, as ids are reused."""

    __slots__ = ("_leader", "_vanished", "id")

    def __init__(self, leader: subprocess.Popen[bytes]) -> None:
        self.id = leader.pid
        self._leader = leader
        self._vanished = False

    def signal(self, number: int) -> None:
        """Send signal ``number`` to every member; does nothing when there is none."""
        if self._vanished:
            return
        try:
            os.killpg(self.id, number)
        except ProcessLookupError:
            # Before we have reaped the leader its id cannot belong to anybody else.
            self._vanished = self._leader.returncode is not None
        except PermissionError:
            # Members that changed their user cannot be signalled; those that did not were (kill(2)).
            pass

    @property
    def alive(self) -> bool:
        """Whether the group has a live member; the leader counts until it was reaped."""
        if self._leader.returncode is None:
            return True
        if not self._vanished:
            self._reap_adopted()
            self.signal(0)
        if not self._vanished:
            # Dead orphans keep the group existing until process 1 reaps them, which in many a container is never.
            self._vanished = not self._has_live_member()
        return not self._vanished

    def _has_live_member(self) -> bool:
        """Look through ``/proc``; where there is none, the group is taken to be alive."""
        group = str(self.id)
        try:
            pids = [name for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - names are what is wanted
        except FileNotFoundError:
            return True
        for pid in pids:
            try:
                stat = Path("/proc", pid, "stat").read_text(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
            # After the command, which may contain anything: state, parent, process group (proc_pid_stat(5)).
            state, _, member_of, *_ = stat.rpartition(")")[2].split()
            if member_of == group and state not in "ZX":
                return True
        return not pids

    def _reap_adopted(self) -> None:
        # Where the gateway is process 1 of a container, the orphans of its children become its own children.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self.id, os.WNOHANG)[0]:
                pass
