"""Servers that others publish in an MCP registry: searched there, and turned into servers of this gateway."""
