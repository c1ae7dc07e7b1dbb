"""The URLs of an endpoint, and what to give each client program that it connects.

Knows what the gateway serves below an endpoint's name, and the files and commands of client programs as their own
documentation has them. A key is never known here: where one belongs, there is ``PLACEHOLDER``.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from msgspec import Struct

from metamcp_asgi.admin.api.shapes import Endpoint
from metamcp_asgi.asgi.bearer import METADATA
from metamcp_asgi.asgi.origin import host_name, is_loopback
from metamcp_asgi.pages.i18n import N_

__all__ = ["PLACEHOLDER", "Address", "Snippet", "addresses", "snippets"]

PLACEHOLDER: Final = "YOUR_API_KEY"


class Address(Struct, frozen=True):
    """A URL of an endpoint; ``label`` says what for, and ``hint`` for whom."""

    label: str
    url: str
    hint: str = ""


class Snippet(Struct, frozen=True):
    """What a client program is given: a text for ``where``, or rows of what its form asks for."""

    client: str
    where: str
    text: str = ""
    rows: Sequence[tuple[str, str]] = ()


def addresses(endpoint: Endpoint, base: str) -> list[Address]:
    """Return the URLs of an endpoint.

    Args:
        endpoint: The endpoint.
        base: The URL of the gateway as browsers see it, without a slash at its end.
    """
    here = f"{base}/metamcp/{endpoint.name}"
    found = [
        Address("MCP", f"{here}/mcp", N_("Streamable HTTP, for all clients of today.")),
        Address("SSE", f"{here}/sse", N_("HTTP+SSE, for clients that know nothing newer.")),
        Address("REST", f"{here}/api", N_("Each tool as an operation; in a browser, its documentation.")),
        Address("OpenAPI", f"{here}/api/openapi.json", N_("Describes the operations for programs.")),
    ]
    if endpoint.oauth:
        metadata = f"{base}{METADATA}/metamcp/{endpoint.name}/mcp"
        found.append(Address("OAuth", metadata, N_("Where clients learn who gives access tokens.")))
    return found


def with_keys(endpoint: Endpoint, base: str) -> list[Address]:
    """Return the URLs that have the key in them, for clients that cannot send headers; none, where that is refused."""
    if not (endpoint.api_key_auth and endpoint.query_param_auth):
        return []
    return [Address(each.label, f"{each.url}?api_key={PLACEHOLDER}") for each in addresses(endpoint, base)[:4]]


def snippets(endpoint: Endpoint, base: str) -> list[Snippet]:
    """Return what each client program is given; the arguments are those of ``addresses``."""
    here = f"{base}/metamcp/{endpoint.name}"
    url, name = f"{here}/mcp", endpoint.name
    bearer = f"Bearer {PLACEHOLDER}"
    headers = {"headers": {"Authorization": bearer}} if endpoint.api_key_auth else {}
    command = ["claude", "mcp", "add", "--transport", "http", name, url]
    shown = shlex.join(command) + (f' --header "Authorization: {bearer}"' if headers else "")
    auth = "Bearer" if headers else "OAuth 2.1" if endpoint.oauth else "None"
    key = [("Key", PLACEHOLDER)] if headers else []
    return [
        Snippet(
            "Claude Desktop",
            N_("Settings, Developer, Edit Config: claude_desktop_config.json"),
            _desktop(name, url, headers),
        ),
        Snippet("Claude Code", N_("In a terminal"), shown),
        Snippet(
            "Cursor",
            N_("~/.cursor/mcp.json, or .cursor/mcp.json of a project"),
            _json({"mcpServers": {name: {"url": url, **headers}}}),
        ),
        Snippet("VS Code", N_(".vscode/mcp.json, or MCP: Open User Configuration"), _vs_code(name, url, bool(headers))),
        Snippet(
            "Open WebUI",
            N_("Admin Settings, External Tools, + (Add Server)"),
            rows=[("Type", "MCP (Streamable HTTP)"), ("URL", url), ("Auth", auth), *key],
        ),
    ]


def _desktop(name: str, url: str, headers: Mapping[str, Any]) -> str:
    # It starts programs only, and takes a file with URLs for a broken one.
    args = ["-y", "mcp-remote", url]
    host = host_name(urlsplit(url).netloc)
    if url.startswith("http:") and not (host is not None and is_loopback(host)):
        args.append("--allow-http")
    if not headers:
        return _json({"mcpServers": {name: {"command": "npx", "args": args}}})
    # On Windows it does not quote arguments with spaces, so the space is in a variable (mcp-remote's README).
    args += ["--header", "Authorization:${AUTH}"]
    return _json({"mcpServers": {name: {"command": "npx", "args": args, "env": {"AUTH": f"Bearer {PLACEHOLDER}"}}}})


def _vs_code(name: str, url: str, keyed: bool) -> str:
    server: dict[str, Any] = {"type": "http", "url": url}
    if not keyed:
        return _json({"servers": {name: server}})
    # It asks for the key once and keeps it safe, so that the file can be shared.
    asked = {"type": "promptString", "id": f"{name}-key", "description": f"API key for {name}", "password": True}
    server["headers"] = {"Authorization": f"Bearer ${{input:{name}-key}}"}
    return _json({"inputs": [asked], "servers": {name: server}})


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
