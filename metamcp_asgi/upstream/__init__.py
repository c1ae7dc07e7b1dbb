"""Our side of the connections to MCP servers."""
