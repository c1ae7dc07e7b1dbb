"""ASGI layers that know nothing of MCP messages; each works in front of any ASGI application."""
