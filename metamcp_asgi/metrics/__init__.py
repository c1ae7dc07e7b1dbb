"""What a gateway counts: calls by what they were about and how they ended, and what is open. Knows nothing of MCP."""
