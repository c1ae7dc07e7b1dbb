"""A reverse proxy for the Model Context Protocol, as composable ASGI layers."""

__version__ = "0.1.0"
