"""The inspector: a page on which a person tries a server or an endpoint as an MCP client does."""
