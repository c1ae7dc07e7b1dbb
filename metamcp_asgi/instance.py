"""The name of a gateway among others: by which it knows itself in a circle, and a companion tells its callers apart."""

import hmac
import secrets
import socket

from metamcp_asgi.settings import Settings

__all__ = ["instance_of"]


def instance_of(settings: Settings) -> str:
    """Return the gateway's name; processes that share keys and an address share it, too."""
    if not settings.secret_keys or not settings.port:
        return secrets.token_hex(6)
    place = f"{socket.gethostname()} {settings.app_url} {settings.host} {settings.port}"
    return hmac.digest(settings.secret_keys[0], f"metamcp instance {place}".encode(), "sha256").hex()[:12]
