"""What the suite starts as the client of a scenario: tells the tests where its mock server is, and ends as they say.

    python client_command.py PORT MOCK-SERVER-URL

The client is in the process of the tests, which has long imported what it needs.
"""

import os
import socket
import sys


def main(port: str, url: str) -> int:
    with socket.create_connection(("127.0.0.1", int(port))) as tests, tests.makefile("rw") as stream:
        print(url, os.environ.get("MCP_CONFORMANCE_CONTEXT", ""), file=stream, flush=True)
        return int(stream.readline() or 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
