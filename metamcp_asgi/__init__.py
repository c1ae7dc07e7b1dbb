"""A reverse proxy for the Model Context Protocol, as composable ASGI layers.

``Gateway`` is the whole; each layer can be used alone in front of any ASGI application.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "CORS",
    "Authenticate",
    "Gateway",
    "NamespaceRouter",
    "Observe",
    "OriginGuard",
    "RateLimit",
    "Settings",
    "__version__",
]

if TYPE_CHECKING:
    from metamcp_asgi.asgi.auth import Authenticate
    from metamcp_asgi.asgi.cors import CORS
    from metamcp_asgi.asgi.observe import Observe
    from metamcp_asgi.asgi.origin import OriginGuard
    from metamcp_asgi.asgi.ratelimit import RateLimit
    from metamcp_asgi.asgi.router import NamespaceRouter
    from metamcp_asgi.gateway import Gateway
    from metamcp_asgi.settings import Settings

_HOMES = {
    "CORS": "asgi.cors",
    "Authenticate": "asgi.auth",
    "Gateway": "gateway",
    "NamespaceRouter": "asgi.router",
    "Observe": "asgi.observe",
    "OriginGuard": "asgi.origin",
    "RateLimit": "asgi.ratelimit",
    "Settings": "settings",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: one layer does not pay for the whole gateway (PEP 562)."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
