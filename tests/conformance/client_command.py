"""What the suite starts as the client of a scenario: tells the tests where its mock server is, and ends as they say.

    python client_command.py SOCKET MOCK-SERVER-URL

The client is in the process of the tests, which has long imported what it needs.
"""

import os
import socket
import sys


def main(path: str, url: str) -> int:
    with socket.socket(socket.AF_UNIX) as tests, tests.makefile("rw") as stream:
        tests.connect(path)
        print(url, os.environ.get("MCP_CONFORMANCE_CONTEXT", ""), file=stream, flush=True)
        return int(stream.readline() or 1)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
