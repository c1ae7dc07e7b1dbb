"""A stdio server that reports notifications to a witness, and answers any call with the line that it was sent.

A call whose arguments say `"die": true` ends it instead.

python raw_stdio.py WITNESS_SOCKET [legacy]
"""

import json
import socket
import sys

witness = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
legacy = "legacy" in sys.argv
CAPABILITIES: dict[str, object] = {"tools": {}}


def answer(message: dict[str, object], line: str) -> dict[str, object]:
    method = message["method"]
    if method == "server/discover" and not legacy:
        return {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": CAPABILITIES,
            "ttlMs": 60000,
            "cacheScope": "public",
        }
    if method == "initialize" and legacy:
        info = {"name": "raw", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "serverInfo": info}
    if method == "tools/list":
        tool = {"name": "line", "inputSchema": {"type": "object"}}
        return {"resultType": "complete", "ttlMs": 60000, "cacheScope": "public", "tools": [tool]}
    if method == "tools/call":
        return {"resultType": "complete", "content": [{"type": "text", "text": line}]}
    raise LookupError(method)


for received in sys.stdin.buffer:
    text = received.decode().removesuffix("\n")
    if '"die":true' in text.replace(" ", ""):
        print("about to die", file=sys.stderr, flush=True)
        sys.exit(3)
    message = json.loads(text)
    if "id" not in message:
        witness.sendto(text.encode(), sys.argv[1])
        continue
    reply: dict[str, object] = {"jsonrpc": "2.0", "id": message["id"]}
    try:
        reply["result"] = answer(message, text)
    except LookupError as error:
        reply["error"] = {"code": -32601, "message": str(error)}
    sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
    sys.stdout.buffer.flush()
