"""How the text of a variable becomes a value of ``Settings``; what is wrong with it is said by ``ValueError``.

Knows no variable by its name.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import urlsplit

from metamcp_asgi.outward.guard import Guard

__all__ = [
    "LEVELS",
    "LogLevel",
    "app_url",
    "commands",
    "flag",
    "host",
    "hosts",
    "integer",
    "level",
    "limits",
    "limits_without_redis",
    "log_format",
    "origins",
    "outward_allowed",
    "path",
    "redis_prefix",
    "redis_url",
    "seconds",
    "secrets",
    "undeclared_tasks",
]

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error", "none"]

MIN_SECRET: Final = 32
"""Bytes (or characters of a passphrase) that a sealing key needs at least."""

LEVELS: Final[dict[str, LogLevel]] = {
    "all": "debug",
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "errors-only": "error",
    "none": "none",
}
"""The names of levels, MetaMCP's among them."""


def flag(text: str) -> bool:
    """Return whether a text says yes."""
    if text.lower() in ("1", "true", "yes", "y", "on"):
        return True
    if text.lower() in ("0", "false", "no", "n", "off"):
        return False
    raise ValueError("must be 1, true, yes, y or on, or 0, false, no, n or off")


def integer(least: int, most: int = 2**53) -> Callable[[str], int]:
    """Return what reads whole numbers from ``least`` to ``most``."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,16}", text) or not least <= int(text) <= most:
            wanted = f"from {least} to {most}" if most < 2**53 else f"of at least {least}"
            raise ValueError(f"must be a whole number {wanted}")
        return int(text)

    return read


def seconds(text: str) -> float:
    """Return a number of seconds."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError("must be a number of seconds greater than 0")
    return number


def level(text: str) -> LogLevel:
    """Return a log level; MetaMCP's names for them are known."""
    found = LEVELS.get(text.lower())
    if found is None:
        raise ValueError(f"must be one of {', '.join(LEVELS)}")
    return found


def host(text: str) -> str:
    """Return an address or a host name to listen on."""
    name = text.removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"[A-Za-z0-9._:%-]+", name):
        raise ValueError("must be an address or a host name, such as 127.0.0.1")
    return name


def app_url(text: str) -> str:
    """Return a public URL without a slash at its end."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or parts.username is not None or not re.fullmatch(r"[!-~]+", text):
        raise ValueError("must be a URL that begins with http:// or https://, without user, query or fragment")
    return text.rstrip("/")


def redis_url(text: str) -> str:
    """Return the URL of a Redis; what is wrong with it is not shown, as there may be a password in it."""
    kinds = r'rediss?(\+cluster)?://[^/?#]|rediss?\+sentinel://[^/?#]+/[^/?#]|unix://[!-"$->@-~]*/'
    if not re.fullmatch(rf"({kinds})[!-~]*", text):
        raise ValueError(
            "must look like redis://host:6379/0, rediss://user:password@host:6379/0 for TLS, unix:///path/to/socket, "
            "redis+sentinel://host:26379,host:26379/NAME/0, or redis+cluster://host:6379,host:6379"
        )
    return text


def outward_allowed(text: str) -> tuple[str, ...]:
    """Return what ``outward.Guard`` is to allow."""
    allowed = tuple(_listed(text))
    Guard(allowed)
    return allowed


def redis_prefix(text: str) -> str:
    """Return what keys in a Redis begin with."""
    if not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", text):
        raise ValueError("may only have letters, digits and . _ : -, at most 64")
    return text


def limits_without_redis(text: str) -> str:
    """Return what rate limits do without Redis."""
    if text not in ("local", "refuse"):
        raise ValueError('must be "local", where each process counts for itself, or "refuse"')
    return text


def undeclared_tasks(text: str) -> str:
    """Return what becomes of tasks for clients that do not follow tasks."""
    if text not in ("drive", "pass"):
        raise ValueError('must be "drive", where the client waits for the result, or "pass", where it gets the error')
    return text


def log_format(text: str) -> str:
    """Return how log lines look."""
    if text not in ("console", "json"):
        raise ValueError('must be "console", lines for people, or "json"')
    return text


def commands(text: str) -> tuple[str, ...]:
    """Return names of programs, and absolute paths."""
    found = tuple(_listed(text))
    if not found or any("/" in command and not command.startswith("/") for command in found):
        raise ValueError('must be names of programs, or absolute paths, separated by commas: "npx, /opt/mcp/server"')
    return found


def limits(text: str) -> tuple[tuple[str, int], ...]:
    """Return resource limits by their names in prlimit(1)."""
    found = [item.partition("=") for item in _listed(text)]
    if not found or any(name not in _LIMITS or not re.fullmatch(r"[0-9]{1,18}", value) for name, _, value in found):
        raise ValueError(
            f'must be limits separated by commas, as "nofile=4096, core=0"; there are: {", ".join(_LIMITS)}'
        )
    return tuple((name, int(value)) for name, _, value in found)


_LIMITS: Final = ("as", "core", "cpu", "data", "fsize", "memlock", "nofile", "nproc", "stack")


def path(text: str) -> Path:
    """Return a path, ``~`` expanded."""
    return Path(text).expanduser()


def _listed(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def hosts(text: str) -> tuple[str, ...]:
    """Return names of hosts, lower case."""
    found = _listed(text)
    if not found or not all(
        re.fullmatch(r"\*|(\*\.)?[A-Za-z0-9._-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?", host) for host in found
    ):
        raise ValueError('must be host names separated by commas, each with its port or without: "mcp.example.com"')
    return tuple(host.lower() for host in found)


def origins(text: str) -> tuple[str, ...]:
    """Return origins, lower case."""
    found = [origin.rstrip("/") for origin in _listed(text)]
    if not all(re.fullmatch(r"\*|[A-Za-z][A-Za-z0-9+.-]*://[^/?#@*\s]+", origin) for origin in found):
        raise ValueError(
            'must be origins separated by commas: "https://app.example.com" (scheme, host, no path, no * in it)'
        )
    return tuple(origin.lower() for origin in found)


def secrets(text: str) -> tuple[bytes, ...]:
    """Return the keys that seal."""
    found = tuple(_secret(item, number) for number, item in enumerate(_listed(text), 1))
    if not found:
        raise ValueError("has no key between its commas")
    return found


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
