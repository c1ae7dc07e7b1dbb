"""A bare MCP server for stdio, of the modern era: ``python -m bench.stdio_server COUNT``."""

import sys

import msgspec
from msgspec import UNSET

from bench import answers


def main(count: int) -> None:
    """Answer line by line until the input ends."""
    decode = msgspec.json.Decoder(answers.Request).decode
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while line := source.readline():
        request = decode(line)
        if request.id is UNSET:
            continue
        if request.method == "tools/call":
            outcome = b'"result":%b' % answers.call(request.params, modern=True)
        elif request.method == "tools/list":
            outcome = b'"result":%b' % answers.listing(count, modern=True)
        elif request.method == "server/discover":
            outcome = b'"result":%b' % answers.discover()
        else:
            outcome = b'"error":{"code":-32601,"message":"Method not found"}'
        sink.write(b'{"jsonrpc":"2.0","id":%b,%b}\n' % (msgspec.json.encode(request.id), outcome))
        sink.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
