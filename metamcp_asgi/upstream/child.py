"""One child process of a stdio server: spawn, messages in and out, the tail of its stderr, stop.

Knows the life of a process group and its pipes; knows nothing of JSON-RPC, sessions or restarts (T-92).

A child *runs* until ``stop``, its exit, or the loss of its stdin or stdout begins its *ending*: one task, owned by the
child, that closes stdin and then sends SIGTERM and SIGKILL to whatever is left of the whole process group. ``on_exit``
comes when the leader has exited and its output was read to the end, or the ending gave up on whoever holds the pipes.
"""

import asyncio
import contextlib
import logging
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from metamcp_asgi.errors import UpstreamUnavailable
from metamcp_asgi.upstream.pipes import ErrorTail, LineReader, LineWriter
from metamcp_asgi.upstream.process import ProcessGroup, describe_exit, start, when_exited
from metamcp_asgi.upstream.reaper import Reaper

__all__ = ["DEFAULT_GRACE", "MAX_MESSAGE_BYTES", "Child"]

logger = logging.getLogger("metamcp.upstream.child")

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""The longest message that a server may send."""
DEFAULT_GRACE: Final = 2.0
"""Seconds between the steps of an ending; those of the MCP SDK."""

_POLL, _MAX_POLL = 0.01, 0.1  # seconds; no event tells that a process group is empty
_LOST_LINGER = 0.5  # seconds to exit after closing a pipe, while clients wait for answers that cannot come
_KILL_WAIT = 1.0  # seconds for the kernel to act on SIGKILL
_DRAIN_WAIT = 0.5  # seconds for the rest of the output once the whole group is gone


def _unheard(line: str) -> None:
    """Listen to nobody."""


class Child:
    """A running stdio server. Made by ``Child.spawn`` only; belongs to one event loop."""

    __slots__ = (
        "_ending",
        "_errors",
        "_exited",
        "_finished",
        "_group",
        "_input",
        "_lines",
        "_name",
        "_on_exit",
        "_open_outputs",
        "_outputs",
        "_process",
        "_reaper",
        "_reason",
        "_refusal",
    )

    def __init__(
        self, name: str, process: subprocess.Popen[bytes], reaper: Reaper, heard: Callable[[str], object]
    ) -> None:
        self._name = name
        self._process = process
        self._on_exit: Callable[[str], None] | None = None
        self._reaper = reaper
        self._group = ProcessGroup(process)
        self._input = LineWriter(self._input_lost)
        self._errors = ErrorTail(name, self._stderr_lost, heard)
        self._outputs: list[asyncio.BaseTransport] = []
        self._open_outputs = 2  # stdout and stderr
        self._lines: LineReader | None = None
        self._exited = asyncio.Event()
        self._finished = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._reason = ""
        self._refusal = ""

    @classmethod
    async def spawn(
        cls,
        command: str,
        args: Sequence[str],
        *,
        name: str,
        env: Mapping[str, str],
        cwd: str | None,
        on_message: Callable[[bytes], None],
        on_exit: Callable[[str], None],
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        reaper: Reaper,
        prefix: Sequence[str] = (),
        heard: Callable[[str], object] = _unheard,
    ) -> "Child":
        """Start a child in its own session and process group, without a shell.

        Args:
            command: A name looked up on the ``PATH`` of ``env``, or a path; ``~`` is expanded.
            args: Its arguments.
            name: The server's name, for logs.
            env: The complete environment of the child; see ``child_environment``.
            cwd: Where it starts (``~`` is expanded); ``None`` for the gateway's own directory.
            on_message: Called synchronously with each complete non-empty line of its stdout, without the line end. Must
                not raise. May come before ``spawn`` returns.
            on_exit: Called once, with the reason in one line, when the process is gone and its output was read to the
                end; never before ``spawn`` returns.
            max_message_bytes: A longer line ends the child.
            reaper: Ends the child should the gateway be killed.
            prefix: A program, and its arguments, that becomes the command.
            heard: Called with each line of its stderr that is not blank.

        Raises:
            UpstreamUnavailable: The child cannot be started. ``on_exit`` is not called then.
        """
        await reaper.start()
        process = start(command, args, env=env, cwd=cwd, prefix=prefix)
        reaper.watch(process.pid)
        child = cls(name, process, reaper, heard)
        when_exited(process, child._process_exited)
        # Shielded, as uvloop closes a descriptor twice when the connecting of a pipe is cancelled.
        connecting = asyncio.create_task(child._connect(on_message, max_message_bytes))
        try:
            await asyncio.shield(connecting)
        except BaseException:
            # The caller never gets this child, so nobody else could stop it.
            child._group.signal(signal.SIGKILL)
            await asyncio.wait((connecting,))
            await child.stop(0.0)
            raise
        child._on_exit = on_exit
        if child._finished.is_set():
            asyncio.get_running_loop().call_soon(on_exit, child._reason)
        return child

    async def _connect(self, on_message: Callable[[bytes], None], max_message_bytes: int) -> None:
        loop = asyncio.get_running_loop()
        process = self._process
        self._lines = lines = LineReader(
            on_message, lambda: self._message_too_long(max_message_bytes), self._stdout_lost, max_message_bytes
        )
        pipes = [process.stderr, process.stdout, process.stdin]
        try:
            await loop.connect_write_pipe(lambda: self._input, pipes.pop())
            self._outputs.append((await loop.connect_read_pipe(lambda: lines, pipes.pop()))[0])
            self._outputs.append((await loop.connect_read_pipe(lambda: self._errors, pipes.pop()))[0])
        finally:
            for pipe in pipes:
                assert pipe is not None
                pipe.close()

    @property
    def pid(self) -> int:
        """The process id; also the id of its process group and session."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether messages can be written to it."""
        return not self._refusal

    @property
    def stderr(self) -> str:
        """The last lines it wrote to stderr: at most 50 lines and 16 KiB. May hold secrets; for operators."""
        return self._errors.text()

    def attach(self, on_message: Callable[[bytes], None], on_exit: Callable[[str], None]) -> None:
        """Have others told from now on what ``spawn`` was given somebody for."""
        assert self._lines is not None
        self._lines.on_line = on_message
        self._on_exit = on_exit

    def write(self, line: bytes) -> None:
        """Queue one JSON-RPC message; those of one turn of the event loop are written together.

        Args:
            line: The message, valid JSON without a newline at its end. Line breaks between its tokens become spaces
                (T-90).

        Raises:
            UpstreamUnavailable: The child is gone or ending, or leaves more than 64 MiB unread. The message was not
                sent.
        """
        if self._refusal:
            raise UpstreamUnavailable(self._refusal)
        self._input.write(line)

    async def drain(self) -> None:
        """Return once the child's pipe accepts more, or the child is gone; at once while the child keeps up."""
        await self._input.drain()

    async def stop(self, grace: float = DEFAULT_GRACE, *, linger: float | None = None) -> None:
        """End the child and everything in its process group, and wait for that (T-92).

        Idempotent, and safe to call concurrently or after its exit: an ending that has begun keeps its pace.

        Args:
            grace: Seconds it gets to leave after its stdin was closed, and again after SIGTERM, before SIGKILL.
            linger: Seconds it gets to leave before SIGTERM, where they differ from those after it.
        """
        linger = grace if linger is None else linger
        await asyncio.shield(self._end("the server is being stopped", linger=linger, grace=grace))

    def _process_exited(self) -> None:
        self._exited.set()
        self._reason = self._reason or describe_exit(self._process.returncode)
        # Without their leader the rest of the group serves nobody, but keeps the pipes open: no linger for them.
        self._end(f"the server {self._reason}", linger=0.0, grace=DEFAULT_GRACE)
        self._finish_if_over()

    # Losing a pipe is normally the first sign of an exit. If the server lives on, no answer can come any more.

    def _input_lost(self) -> None:
        self._end("the server closed its input", linger=_LOST_LINGER, grace=DEFAULT_GRACE)

    def _stdout_lost(self) -> None:
        self._end("the server closed its output", linger=_LOST_LINGER, grace=DEFAULT_GRACE)
        self._stderr_lost()

    def _stderr_lost(self) -> None:
        self._open_outputs -= 1
        self._finish_if_over()

    def _message_too_long(self, limit: int) -> None:
        self._reason = self._reason or f"was killed: it sent a message of more than {limit} bytes"
        self._group.signal(signal.SIGKILL)
        self._end(f"the server {self._reason}", linger=0.0, grace=0.0)

    def _finish_if_over(self) -> None:
        if self._exited.is_set() and not self._open_outputs:
            self._finish()

    def _finish(self) -> None:
        if not self._finished.is_set():
            self._finished.set()
            if self._on_exit is not None:
                self._on_exit(self._reason)

    def _end(self, refusal: str, *, linger: float, grace: float) -> asyncio.Task[None]:
        """Begin the ending unless it has begun: ``linger`` seconds till SIGTERM, ``grace`` more till SIGKILL."""
        if self._ending is None:
            self._refusal = refusal
            self._ending = asyncio.create_task(self._ending_of(linger, grace), name=f"ending of server {self._name}")
        return self._ending

    async def _ending_of(self, linger: float, grace: float) -> None:
        try:
            self._input.close()
            for seconds, next_signal in ((linger, signal.SIGTERM), (grace, signal.SIGKILL)):
                if await self._is_empty_within(seconds):
                    break
                self._group.signal(next_signal)
            if not await self._is_empty_within(_KILL_WAIT):
                logger.warning("%s: process group %d is still there after SIGKILL", self._name, self.pid)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_WAIT):
                    await self._finished.wait()
        finally:
            # Cancelled only when the event loop shuts down: no time for grace then.
            self._group.signal(signal.SIGKILL)
            self._reaper.release(self.pid)
            # A descendant that left the group may hold the pipes for as long as it lives.
            self._input.abort()
            for output in self._outputs:
                output.close()
            self._reason = self._reason or "was killed"
            self._finish()

    async def _is_empty_within(self, seconds: float) -> bool:
        """Return whether the process group became empty within ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._exited.wait()
                pause = _POLL
                while self._group.alive:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _MAX_POLL)
        return not self._group.alive
