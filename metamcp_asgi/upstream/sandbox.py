"""The box in which a stdio server runs: bubblewrap, by namespaces of the kernel and without root.

Inside are the system's programs and libraries, an empty home and ``/tmp``, and what the configuration adds; no other
process, no network unless it is asked for, nothing that can be written unless it is listed.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.errors import UpstreamUnavailable

__all__ = ["boxed"]

SCRATCH_BYTES: Final = 256 * 1024 * 1024
"""How much each of the empty home, ``/tmp`` and ``/dev/shm`` may hold, in memory, until the server ends."""
_SCRATCH: Final = "/tmp"  # the box's own, not ours  # noqa: S108  # nosec B108
_SHARED: Final = "/dev/shm"  # noqa: S108  # nosec B108
_PROGRAMS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr")
_ETC: Final = (
    "alternatives", "ca-certificates", "group", "host.conf", "hosts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "localtime", "mime.types", "nsswitch.conf", "passwd", "pki", "protocols", "resolv.conf", "services", "ssl",
    "timezone",
)  # fmt: skip
"""What programs read of ``/etc``; the rest may hold what is nobody's business."""


def boxed(server: Server, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return the program, and its arguments, that puts the server's command, which comes after them, into its box.

    Args:
        server: A server with a ``sandbox``.
        env: The complete environment of its process.

    Raises:
        UpstreamUnavailable: There is no bubblewrap, or the box would not have what the server needs.
    """
    sandbox = server.sandbox
    assert sandbox is not None
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise UpstreamUnavailable(
            'was not started: its "sandbox" needs bubblewrap, which is not installed (apt-get install bubblewrap)'
        )
    home = env.get("HOME") or "/nonexistent"
    shown = dict.fromkeys(_existing("read", sandbox.read), "--ro-bind")
    shown |= dict.fromkeys(_existing("write", sandbox.write), "--bind")
    start = _SCRATCH
    if server.cwd is not None:
        start = str(Path(server.cwd).expanduser())
        if not _within(start, shown):
            shown[start] = "--ro-bind"
    _check_command(server, env, [*shown, *_PROGRAMS])
    arguments = [bubblewrap, "--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
    if sandbox.network:
        arguments.append("--share-net")
    arguments += _system()
    for scratch in dict.fromkeys((_SCRATCH, home)):
        arguments += ["--size", str(SCRATCH_BYTES), "--tmpfs", scratch]
    # What is inside of another folder comes after it, and is not hidden by it.
    for path in sorted(shown, key=lambda path: Path(path).parts):
        arguments += [shown[path], path, path]
    return (*arguments, "--remount-ro", "/", "--chdir", start, "--")


def _existing(key: str, paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        found = Path(path).expanduser()
        if not found.exists():
            raise UpstreamUnavailable(f"was not started: its sandbox.{key} has {path!r}, which is not there")
        yield str(found)


def _check_command(server: Server, env: Mapping[str, str], shown: Iterable[str]) -> None:
    """See that the program itself is in the box; one that is not found at all is told of by who starts it."""
    command = str(Path(server.command).expanduser())
    found = shutil.which(command, path=env.get("PATH", os.defpath))
    for program in dict.fromkeys((found, os.path.realpath(found))) if found is not None else ():
        if not _within(program, shown):
            raise UpstreamUnavailable(
                f"was not started: its command is {program}, which its sandbox does not have; add its folder to "
                "sandbox.read"
            )
    interpreter = None if found is None else _interpreter(found)
    for program in dict.fromkeys((interpreter, os.path.realpath(interpreter))) if interpreter is not None else ():
        if not _within(program, shown):
            raise UpstreamUnavailable(
                f"was not started: its command is a script that {program} runs, which its sandbox does not have; add "
                "the folder where that is installed to sandbox.read"
            )


def _interpreter(program: str) -> str | None:
    """Return what runs a program, if that is a script (execve(2)): of a virtual environment, a Python elsewhere."""
    if not os.path.isfile(program):  # noqa: PTH113 - a text; to open a pipe would wait for who writes into it
        return None
    try:
        with open(program, "rb") as file:  # noqa: PTH123 - a text, as the others here
            line = file.readline(512)
    except OSError:
        return None  # whoever starts it says so
    words = line.removeprefix(b"#!").split() if line.startswith(b"#!") else ()
    return os.fsdecode(words[0]) if words else None


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in folders)


def _system() -> Iterator[str]:
    for path in _PROGRAMS:
        if os.path.islink(path):  # noqa: PTH114 - Path.readlink is of no use for a text
            yield from ("--symlink", os.readlink(path), path)  # noqa: PTH115
        elif os.path.isdir(path):  # noqa: PTH112
            yield from ("--ro-bind", path, path)
    for name in _ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
    yield from ("--proc", "/proc", "--dev", "/dev", "--size", str(SCRATCH_BYTES), "--tmpfs", _SHARED)
    yield from ("--remount-ro", "/dev")
