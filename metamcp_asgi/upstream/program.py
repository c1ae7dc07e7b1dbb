"""The program of a stdio server: what is run, where, within which bounds. Knows nothing of what is said to it."""

from collections.abc import Callable

from metamcp_asgi.config.snapshot import Server
from metamcp_asgi.upstream.child import Child
from metamcp_asgi.upstream.environment import child_environment
from metamcp_asgi.upstream.hearing import hearing
from metamcp_asgi.upstream.runtime import Runtime

__all__ = ["Program"]


class Program:
    """What is to be run for a server, which may be run several times.

    Args:
        server: Its configuration.
        runtime: What the process shares.

    Raises:
        UpstreamUnavailable: It may not be run, or not as it is configured.
    """

    __slots__ = ("_command", "_env", "_prefix", "_runtime", "_server")

    def __init__(self, server: Server, runtime: Runtime) -> None:
        self._command = runtime.launch.command(server)
        self._env = child_environment(server.env, runtime.environ)
        self._prefix = runtime.launch.prefix(server, self._env)
        self._server = server
        self._runtime = runtime

    async def start(self, on_message: Callable[[bytes], None], on_exit: Callable[[str], None]) -> Child:
        """Start it; the caller has a place for it, and gives that back.

        Args:
            on_message: As in ``Child.spawn``.
            on_exit: As there.

        Raises:
            UpstreamUnavailable: It cannot be started.
        """
        return await Child.spawn(
            self._command,
            self._server.args,
            name=self._server.name,
            env=self._env,
            cwd=self._server.cwd,
            on_message=on_message,
            on_exit=on_exit,
            max_message_bytes=self._runtime.max_message_bytes,
            reaper=self._runtime.reaper,
            prefix=self._prefix,
            heard=hearing(self._server, self._runtime.heard),
        )
