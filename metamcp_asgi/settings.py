"""How this process runs: one ``Settings`` object from the environment and an ``.env`` file.

MetaMCP's own variable names are accepted where it has them. What is served is the configuration file's;
knows nothing of servers, namespaces or endpoints.
"""

import base64
import binascii
import logging
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from metamcp_asgi.config.node import nearest
from metamcp_asgi.errors import ConfigError

__all__ = ["LogLevel", "Settings", "read_environment"]

logger = logging.getLogger(__name__)

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error", "none"]

MIN_SECRET: Final = 32
"""Bytes (or characters of a passphrase) that a sealing key needs at least."""


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
        access_log: Whether to log every request. ``METAMCP_ACCESS_LOG``.
        transform_localhost: Whether server URLs on ``localhost`` mean the machine that runs our container.
            ``TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL``.
        max_body_bytes: Size of a request's body, in bytes.
        max_header_bytes: Size of a request's line and headers, in bytes.
        max_json_depth: Levels of nesting in a message.
        max_connections: Open connections of clients; further ones are answered 503.
        max_streams: Open GET and SSE streams.
        max_children: Child processes of stdio servers.
        server_deadline: Seconds that a list waits for one server.
        page_size: Entries on one page of a list.
        stale_seconds: Seconds for which a lost server's last catalogue is still served.
        poll_seconds: Seconds between two looks at a server that tells of no changes, while clients listen.
        keepalive_seconds: Seconds of silence on a stream before a comment is sent.
        connect_concurrency: Servers that are being connected to at the same time.
        session_idle_seconds: Seconds after which an idle upstream session that isn't shared is closed.
        resume_events: Events of clients' streams that are kept, so that a stream can be resumed; 0: none can be.
        input_seconds: Seconds that a user has to answer a server's question before the call is given up.
        forward_baggage: Whether servers are told the ``baggage`` of a client's trace, which may say anything.
        shutdown_seconds: Seconds that calls in flight may take to finish when the process is told to stop.
        redis_url: The Redis that all processes share; ``None``: there is no other. If not set, ``REDIS_URL``.
        redis_prefix: Of all keys there, so that several gateways can share one Redis.
        limits_without_redis: Rate limits while Redis is away: ``local``, each process counts for itself, or ``refuse``.
        workers: Processes that serve; more than one needs ``redis_url``, or ``stateless``.
        stateless: Whether nothing is offered that needs one process to reach another, so that many need no Redis.
        stdio_socket: Where ``metamcp-stdio`` listens, which runs the stdio servers then; ``None``: this process does.

    From ``max_body_bytes`` on, the variable is ``METAMCP_`` and the field's name in upper case.
    """

    host: str = "127.0.0.1"
    port: int = 12008
    app_url: str | None = None
    allowed_hosts: tuple[str, ...] | None = None
    allowed_origins: tuple[str, ...] = ()
    secret_keys: tuple[bytes, ...] = ()
    log_level: LogLevel = "info"
    access_log: bool = False
    transform_localhost: bool = False
    max_body_bytes: int = 4 * 1024 * 1024
    max_header_bytes: int = 32 * 1024
    max_json_depth: int = 64
    max_connections: int = 8192
    max_streams: int = 1024
    max_children: int = 256
    server_deadline: float = 5.0
    page_size: int = 1000
    stale_seconds: float = 30.0
    poll_seconds: float | None = None
    keepalive_seconds: float = 15.0
    connect_concurrency: int = 8
    resume_events: int = 4096
    input_seconds: float = 600.0
    session_idle_seconds: float = 300.0
    forward_baggage: bool = False
    shutdown_seconds: float = 5.0
    redis_url: str | None = None
    redis_prefix: str = "metamcp"
    limits_without_redis: Literal["local", "refuse"] = "local"
    workers: int = 1
    stateless: bool = False
    stdio_socket: Path | None = None

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
_LEVELS: Final[dict[str, LogLevel]] = {
    "all": "debug",
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "errors-only": "error",
    "none": "none",
}


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "y", "on"):
        return True
    if text.lower() in ("0", "false", "no", "n", "off"):
        return False
    raise ValueError("must be 1, true, yes, y or on, or 0, false, no, n or off")


def _integer(least: int, most: int = 2**53) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,16}", text) or not least <= int(text) <= most:
            wanted = f"from {least} to {most}" if most < 2**53 else f"of at least {least}"
            raise ValueError(f"must be a whole number {wanted}")
        return int(text)

    return read


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError("must be a number of seconds greater than 0")
    return seconds


def _level(text: str) -> LogLevel:
    level = _LEVELS.get(text.lower())
    if level is None:
        raise ValueError(f"must be one of {', '.join(_LEVELS)}")
    return level


def _host(text: str) -> str:
    host = text.removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", host):
        raise ValueError("must be an address or a host name, such as 127.0.0.1")
    return host


def _app_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or parts.username is not None or not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be a URL that begins with http:// or https://, without user, query or fragment")
    return text.rstrip("/")


def _redis_url(text: str) -> str:
    # What is wrong is not shown: there may be a password in it.
    if not re.fullmatch(r'(rediss?://[^/?#]|rediss?\+sentinel://[^/?#]+/[^/?#]|unix://[!-"$->@-~]*/)[!-~]*', text):
        raise ValueError(
            "must look like redis://host:6379/0, rediss://user:password@host:6379/0 for TLS, unix:///path/to/socket, "
            "or redis+sentinel://host:26379,host:26379/NAME/0"
        )
    return text


def _redis_prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", text):
        raise ValueError("may only have letters, digits and . _ : -, at most 64")
    return text


def _limits_without_redis(text: str) -> str:
    if text not in ("local", "refuse"):
        raise ValueError('must be "local", where each process counts for itself, or "refuse"')
    return text


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _hosts(text: str) -> tuple[str, ...]:
    hosts = _listed(text)
    if not hosts or not all(
        re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?", host) for host in hosts
    ):
        raise ValueError('must be host names separated by commas, each with its port or without: "mcp.example.com"')
    return tuple(host.lower() for host in hosts)


def _origins(text: str) -> tuple[str, ...]:
    origins = [origin.rstrip("/") for origin in _listed(text)]
    if not all(re.fullmatch(r"\*|[A-Za-z][A-Za-z0-9+.-]*://[^/?#@*\s]+", origin) for origin in origins):
        raise ValueError(
            'must be origins separated by commas: "https://app.example.com" (scheme, host, no path, no * in it)'
        )
    return tuple(origin.lower() for origin in origins)


def _secrets(text: str) -> tuple[bytes, ...]:
    secrets = tuple(_secret(item, number) for number, item in enumerate(_listed(text), 1))
    if not secrets:
        raise ValueError("has no key between its commas")
    return secrets


def _secret(text: str, number: int) -> bytes:
    if len(text) >= 2 * MIN_SECRET and re.fullmatch(r"(?:[0-9A-Fa-f]{2})+", text):
        return bytes.fromhex(text)
    try:
        decoded = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):  # not base64, then: a passphrase
        decoded = b""
    if len(decoded) >= MIN_SECRET:
        return decoded
    if len(text) < MIN_SECRET:
        raise ValueError(
            f"key {number} is too short: each needs {MIN_SECRET} random bytes in hexadecimal or base64, or a "
            f"passphrase of {MIN_SECRET} characters; make one with: openssl rand -hex {MIN_SECRET}"
        )
    return text.encode()


_VARIABLES: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "APP_URL": ("app_url", _app_url),
    "LOG_LEVEL": ("log_level", _level),
    "TRANSFORM_LOCALHOST_TO_DOCKER_INTERNAL": ("transform_localhost", _flag),
    "METAMCP_ALLOWED_HOSTS": ("allowed_hosts", _hosts),
    "METAMCP_ALLOWED_ORIGINS": ("allowed_origins", _origins),
    "EXTRA_TRUSTED_ORIGINS": ("allowed_origins", _origins),
    "METAMCP_SECRET_KEYS": ("secret_keys", _secrets),
    "REDIS_URL": ("redis_url", _redis_url),
} | {
    f"{_PREFIX}{field.upper()}": (field, read)
    for field, read in {
        "host": _host,
        "port": _integer(0, 65535),
        "access_log": _flag,
        "max_body_bytes": _integer(1024),
        "max_header_bytes": _integer(1024),
        "max_json_depth": _integer(8, 1000),
        "max_connections": _integer(1),
        "max_streams": _integer(1),
        "max_children": _integer(1),
        "server_deadline": _seconds,
        "page_size": _integer(1),
        "stale_seconds": _seconds,
        "poll_seconds": _seconds,
        "keepalive_seconds": _seconds,
        "connect_concurrency": _integer(1),
        "resume_events": _integer(0),
        "input_seconds": _seconds,
        "session_idle_seconds": _seconds,
        "forward_baggage": _flag,
        "shutdown_seconds": _seconds,
        "redis_url": _redis_url,
        "redis_prefix": _redis_prefix,
        "limits_without_redis": _limits_without_redis,
        "workers": _integer(1, 1024),
        "stateless": _flag,
        "stdio_socket": _path,
    }.items()
}
