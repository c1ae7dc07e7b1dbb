"""The last lines of a gateway and its servers, kept for whoever looks. Knows nothing of MCP, nor who may look."""
