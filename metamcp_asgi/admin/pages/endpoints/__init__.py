"""The pages of endpoints: what clients connect to, by which URLs, and who may."""

from metamcp_asgi.admin.pages.endpoints.application import PATHS, routes

__all__ = ["PATHS", "routes"]
