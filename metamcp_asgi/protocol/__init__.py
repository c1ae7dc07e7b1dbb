"""Sans-IO MCP: pure functions and small state machines on bytes. No asyncio, no sockets, no database."""
