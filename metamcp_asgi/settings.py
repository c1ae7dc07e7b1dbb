"""How this process runs: one ``Settings`` object from the environment and an ``.env`` file.

MetaMCP's own variable names are accepted where it has them. What is served is the configuration file's;
knows nothing of servers, namespaces or endpoints.
"""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import Struct

from metamcp_asgi import readers
from metamcp_asgi.config.node import nearest
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.readers import LogLevel

__all__ = ["LogLevel", "Settings", "read_environment"]

logger = logging.getLogger(__name__)


class Settings(Struct, frozen=True, kw_only=True):
    """Everything that is decided outside of the configuration file.

    Args:
        host: Address to listen on. ``METAMCP_HOST``.
        port: TCP port to listen on, 0 for any free one. ``METAMCP_PORT``.
        app_url: Public URL of this gateway without a slash at its end, where it differs. ``APP_URL``.
        allowed_hosts: ``Host`` values to answer, lower case; ``None``: derived from ``host`` and ``app_url``.
            ``METAMCP_ALLOWED_HOSTS``, separated by commas.
        allowed_origins: ``Origin`` values to answer besides our own, lower case. ``METAMCP_ALLOWED_ORIGINS`` and
            ``EXTRA_TRUSTED_ORIGINS``, separated by commas.
        secret_keys: Keys that seal session ids and cursors, newest first; empty: one that lives as long as the process.
            ``METAMCP_SECRET_KEYS``, separated by commas, each in hexadecimal or base64 of at least 32 bytes, or a
            passphrase of at least 32 characters.
        log_level: ``LOG_LEVEL``: a standard level, or MetaMCP's ``all``, ``info``, ``errors-only``, ``none``.
        log_format: ``console``, lines for people, or ``json``. ``METAMCP_LOG_FORMAT``.
        log_folder: Where ``app.log`` and, of errors, ``error.log`` are written, too. ``METAMCP_LOG_FOLDER``.
        log_bytes: How large each may get before it is begun anew. ``METAMCP_LOG_BYTES``.
        log_files: How many of those before are kept. ``METAMCP_LOG_FILES``.
        access_log: Whether to log every request. ``METAMCP_ACCESS_LOG``.
        transform_localhost: Whether server URLs on ``localhost`` mean the machine that runs our container.
            ``TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL``.
        max_body_bytes: Size of a request's body, in bytes.
        max_header_bytes: Size of a request's line and headers, in bytes.
        max_json_depth: Levels of nesting in a message.
        max_connections: Open connections of clients; further ones are answered 503.
        max_streams: Open GET and SSE streams.
        max_children: Child processes of stdio servers.
        warm_spares: Whether a stdio server has one process ahead of its next session, where it has one for each caller.
        server_deadline: Seconds that a list waits for one server.
        page_size: Entries on one page of a list.
        stale_seconds: Seconds for which a lost server's last catalogue is still served.
        poll_seconds: Seconds between two looks at a server that tells of no changes, while clients listen.
        keepalive_seconds: Seconds of silence on a stream before a comment is sent.
        connect_concurrency: Servers that are being connected to at the same time.
        session_idle_seconds: Seconds after which an idle upstream session that isn't shared is closed.
        resume_events: Events of clients' streams that are kept, so that a stream can be resumed; 0: none can be.
        input_seconds: Seconds that a user has to answer a server's question before the call is given up.
        undeclared_tasks: What a modern client that does not declare the tasks extension gets from a server that insists
            on a task: ``drive``, the result, for which it waits, or ``pass``, the server's error.
        forward_baggage: Whether servers are told the ``baggage`` of a client's trace, which may say anything.
        shutdown_seconds: Seconds that calls in flight may take to finish when the process is told to stop.
        redis_url: The Redis that all processes share; ``None``: there is no other. If not set, ``REDIS_URL``.
        redis_prefix: Of all keys there, so that several gateways can share one Redis.
        limits_without_redis: Rate limits while Redis is away: ``local``, each process counts for itself, or ``refuse``.
        workers: Processes that serve; more than one needs ``redis_url``, or ``stateless``.
        stateless: Whether nothing is offered that needs one process to reach another, so that many need no Redis.
        open_metrics: Whether everybody may see ``/metrics``, and not this machine and administrators alone.
        metrics_folder: Where the processes of this machine keep their numbers, so that each can tell those of all;
            ``None``: this process is the only one, or its supervisor makes a folder.
        stdio_commands: The programs that stdio servers may be: names on our ``PATH`` and absolute paths; ``None``: any.
        stdio_limits: Resource limits of each of their processes, by their names in prlimit(1).
        stdio_socket: Where ``metamcp-stdio`` listens, which runs the stdio servers then; ``None``: this process does.
        outward_allowed: Host names, addresses and networks inside that may be asked, and without TLS, although somebody
            else named them: members' servers, issuers, clients' metadata documents. Separated by commas.
        registry_url: The MCP registry in which people look for servers.

    From ``max_body_bytes`` on, the variable is ``METAMCP_`` and the field's name in upper case.
    """

    host: str = "127.0.0.1"
    port: int = 12008
    app_url: str | None = None
    allowed_hosts: tuple[str, ...] | None = None
    allowed_origins: tuple[str, ...] = ()
    secret_keys: tuple[bytes, ...] = ()
    log_level: LogLevel = "info"
    log_format: Literal["console", "json"] = "console"
    log_folder: Path | None = None
    log_bytes: int = 10 * 1024 * 1024
    log_files: int = 5
    access_log: bool = False
    transform_localhost: bool = False
    max_body_bytes: int = 4 * 1024 * 1024
    max_header_bytes: int = 32 * 1024
    max_json_depth: int = 64
    max_connections: int = 8192
    max_streams: int = 1024
    max_children: int = 256
    warm_spares: bool = False
    server_deadline: float = 5.0
    page_size: int = 1000
    stale_seconds: float = 30.0
    poll_seconds: float | None = None
    keepalive_seconds: float = 15.0
    connect_concurrency: int = 8
    resume_events: int = 4096
    input_seconds: float = 600.0
    session_idle_seconds: float = 300.0
    undeclared_tasks: Literal["drive", "pass"] = "drive"
    forward_baggage: bool = False
    shutdown_seconds: float = 5.0
    redis_url: str | None = None
    redis_prefix: str = "metamcp"
    limits_without_redis: Literal["local", "refuse"] = "local"
    workers: int = 1
    stateless: bool = False
    open_metrics: bool = False
    metrics_folder: Path | None = None
    stdio_commands: tuple[str, ...] | None = None
    stdio_limits: tuple[tuple[str, int], ...] = ()
    stdio_socket: Path | None = None
    outward_allowed: tuple[str, ...] = ()
    registry_url: str = "https://registry.modelcontextprotocol.io"

    def __repr__(self) -> str:
        shown = (
            f"{field}=<{len(self.secret_keys)} hidden>"
            if field == "secret_keys"
            else "redis_url=<hidden>"
            if field == "redis_url" and self.redis_url is not None
            else f"{field}={getattr(self, field)!r}"
            for field in self.__struct_fields__
        )
        return f"Settings({', '.join(shown)})"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ, dotenv: Path | None = Path(".env")) -> "Settings":
        """Return the settings of this environment; an empty variable counts as unset.

        Args:
            environ: The environment, which wins over the file.
            dotenv: A file of further variables, which need not exist.

        Raises:
            ConfigError: A variable's value is wrong; its ``path`` is the variable's name.
        """
        variables = read_environment(environ, dotenv)
        given: dict[str, Any] = {}
        for name, (field, read) in _VARIABLES.items():
            text = variables.get(name, "").strip()
            if not text:
                continue
            try:
                value = read(text)
            except ValueError as error:
                raise ConfigError(str(error), path=name, source="environment") from None
            given[field] = (*given[field], *value) if field == "allowed_origins" and field in given else value
        for name in variables:
            if name.startswith(_PREFIX) and name not in _VARIABLES and name not in _ELSEWHERE:
                near = nearest(name.removeprefix(_PREFIX), [known.removeprefix(_PREFIX) for known in _VARIABLES])
                ours = next((known for known in _VARIABLES if near and known in (near, _PREFIX + near)), None)
                logger.warning("unknown variable %s is ignored%s", name, f"; did you mean {ours}?" if ours else "")
        return cls(**given)


def read_environment(environ: Mapping[str, str] = os.environ, dotenv: Path | None = Path(".env")) -> Mapping[str, str]:
    """Return the variables of the process and, under them, those of a file; also for ``${VAR}`` in the configuration.

    Args:
        environ: The environment, which wins over the file.
        dotenv: A file of ``NAME=value`` lines, which need not exist.

    Raises:
        ConfigError: The file is there and can't be read.
    """
    if dotenv is None or not dotenv.is_file():
        return environ
    from dotenv import dotenv_values

    try:
        read = dotenv_values(dotenv)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source=str(dotenv)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 (at byte {error.start})", source=str(dotenv)) from None
    return {name: value for name, value in read.items() if value is not None} | dict(environ)


_PREFIX: Final = "METAMCP_"
_ELSEWHERE: Final = ("METAMCP_URL", "METAMCP_API_KEY")
"""Where the command line finds a running gateway, and its key there."""

_VARIABLES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "APP_URL": ("app_url", readers.app_url),
    "LOG_LEVEL": ("log_level", readers.level),
    "TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL": ("transform_localhost", readers.flag),
    "METAMCP_ALLOWED_HOSTS": ("allowed_hosts", readers.hosts),
    "METAMCP_ALLOWED_ORIGINS": ("allowed_origins", readers.origins),
    "EXTRA_TRUSTED_ORIGINS": ("allowed_origins", readers.origins),
    "METAMCP_SECRET_KEYS": ("secret_keys", readers.secrets),
    "REDIS_URL": ("redis_url", readers.redis_url),
} | {
    f"{_PREFIX}{field.upper()}": (field, read)
    for field, read in {
        "host": readers.host,
        "port": readers.integer(0, 65535),
        "log_format": readers.log_format,
        "log_folder": readers.path,
        "log_bytes": readers.integer(1024),
        "log_files": readers.integer(0, 1000),
        "access_log": readers.flag,
        "max_body_bytes": readers.integer(1024),
        "max_header_bytes": readers.integer(1024),
        "max_json_depth": readers.integer(8, 1000),
        "max_connections": readers.integer(1),
        "max_streams": readers.integer(1),
        "max_children": readers.integer(1),
        "warm_spares": readers.flag,
        "server_deadline": readers.seconds,
        "page_size": readers.integer(1),
        "stale_seconds": readers.seconds,
        "poll_seconds": readers.seconds,
        "keepalive_seconds": readers.seconds,
        "connect_concurrency": readers.integer(1),
        "resume_events": readers.integer(0),
        "input_seconds": readers.seconds,
        "session_idle_seconds": readers.seconds,
        "undeclared_tasks": readers.undeclared_tasks,
        "forward_baggage": readers.flag,
        "shutdown_seconds": readers.seconds,
        "redis_url": readers.redis_url,
        "redis_prefix": readers.redis_prefix,
        "limits_without_redis": readers.limits_without_redis,
        "workers": readers.integer(1, 1024),
        "stateless": readers.flag,
        "open_metrics": readers.flag,
        "metrics_folder": readers.path,
        "stdio_commands": readers.commands,
        "stdio_limits": readers.limits,
        "stdio_socket": readers.path,
        "outward_allowed": readers.outward_allowed,
        "registry_url": readers.app_url,
    }.items()
}
