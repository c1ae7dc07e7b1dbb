"""What the leg of a modern server keeps of the words of clients: short ones only."""

import json

from metamcp_asgi.protocol.capabilities import Capabilities
from metamcp_asgi.upstream import modern
from metamcp_asgi.upstream.request import Request


def kept() -> tuple[int, int]:
    return modern._mirror.cache_info().currsize, modern._stamp.cache_info().currsize


def test_the_headers_of_a_long_name_are_made_each_time() -> None:
    uri = "memo://" + "x" * modern.MAX_NAME
    before = kept()
    for _ in range(2):
        lines = modern.request_headers(Request("resources/read", {}, name=uri))
        assert lines == f"Mcp-Method: resources/read\r\nMcp-Name: {uri}\r\n".encode()
    assert kept() == before
    modern.request_headers(Request("resources/read", {}, name="memo://only-asked-for-here"))
    assert kept() == (before[0] + 1, before[1])


def test_what_is_said_of_a_client_with_many_words_is_made_each_time() -> None:
    extensions = json.dumps({"io.modelcontextprotocol/ui": {"mimeTypes": ["x" * 600]}}).encode()
    before = kept()
    for _ in range(2):
        request = Request("tools/call", {}, capabilities=Capabilities(extensions=extensions))
        told = json.loads(modern.ModernLeg().params(request, 1))["_meta"]["io.modelcontextprotocol/clientCapabilities"]
        assert told == {"extensions": json.loads(extensions)}
    assert kept() == before
