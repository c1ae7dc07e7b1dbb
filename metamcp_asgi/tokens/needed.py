"""The packages that access tokens need: whether they are there, asked when a configuration is taken."""

from importlib.util import find_spec

from metamcp_asgi.config.snapshot import Snapshot
from metamcp_asgi.errors import ConfigError

__all__ = ["available", "check_tokens"]


def available() -> bool:
    """Tell whether the packages are installed; imports none of them."""
    return all(find_spec(package) is not None for package in ("aiohttp", "jwt"))


def check_tokens(snapshot: Snapshot) -> None:
    """Let pass what can be served here.

    Raises:
        ConfigError: An endpoint takes access tokens, and the packages for that are missing.
    """
    for name, endpoint in snapshot.endpoints.items():
        if endpoint.oauth is not None and not available():
            reason = 'needs further packages: pip install "metamcp-asgi[oauth]"'
            raise ConfigError(reason, path=f"endpoints.{name}.oauth")
