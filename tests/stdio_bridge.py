"""A bridge as there are many: takes what comes on stdin to an HTTP endpoint, and brings back what that answers."""

import json
import sys
import threading
import urllib.error
import urllib.request

NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
write = threading.Lock()


def carry(line: bytes, url: str) -> None:
    message = json.loads(line)
    method, params = message["method"], message.get("params", {})
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
    }
    if method in NAMES:
        headers["Mcp-Name"] = params[NAMES[method]]
    try:
        with urllib.request.urlopen(urllib.request.Request(url, line, headers), timeout=20) as response:
            lines = response.readlines()
    except urllib.error.HTTPError as error:
        lines = [error.read()]
    for each in lines:
        if b"{" in each:
            with write:
                sys.stdout.buffer.write(each[each.index(b"{") :].strip() + b"\n")
                sys.stdout.buffer.flush()


for line in sys.stdin.buffer:
    if b'"id"' in line and b"subscriptions/listen" not in line:
        threading.Thread(target=carry, args=(line, sys.argv[1]), daemon=True).start()
