"""What the suite starts for each OAuth scenario: tells the driver of it, and waits until it was played.

    python -S -E relay.py PORT MOCK-SERVER-URL

Imports as little as possible: the suite starts all of them at once.
"""

import json
import os
import sys
from http.client import HTTPConnection


def main(port: str, url: str) -> int:
    if not os.environ["MCP_CONFORMANCE_SCENARIO"].startswith("auth/"):
        return 0  # has another test
    connection = HTTPConnection("127.0.0.1", int(port), timeout=90)
    told = {
        "url": url,
        "scenario": os.environ["MCP_CONFORMANCE_SCENARIO"],
        "context": os.environ.get("MCP_CONFORMANCE_CONTEXT", ""),
    }
    connection.request("POST", "/", json.dumps(told), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    print(answer.read().decode())
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
