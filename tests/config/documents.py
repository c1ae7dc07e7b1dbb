"""Parts of configuration documents."""

from typing import Any

KEY = "sk_mt_0123456789abcdef"
TIME = {"command": "mcp-server-time"}
WEB = {"url": "http://127.0.0.1:9000/mcp"}


def namespace(tools: object, prefix: str = "always") -> dict[str, Any]:
    return {
        "mcpServers": {"time": TIME, "web": WEB, "off": TIME},
        "namespaces": {"dev": {"servers": ["time", "web"], "prefix": prefix, "tools": tools}},
    }


def server(entry: object) -> dict[str, Any]:
    return {"mcpServers": {"s": entry}}


def endpoint(**entry: object) -> dict[str, Any]:
    return {"mcpServers": {}, "endpoints": {"e": {"namespace": "default", **entry}}}


def keys(*entries: object) -> dict[str, Any]:
    return {"mcpServers": {}, "apiKeys": list(entries)}
