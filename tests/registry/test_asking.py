"""A registry is asked within bounds, and what it does wrong is said in words for a person."""

import pytest

from metamcp_asgi.outward.guard import Guard
from metamcp_asgi.registry import client
from metamcp_asgi.registry.client import Registry, RegistryFailed
from tests.registry.listing import HOSTED, listing

LOCAL = Guard(("127.0.0.1",))


async def test_servers_are_searched_page_by_page_and_asked_for_once() -> None:
    now = 0.0
    async with listing() as served:
        served.servers = [{**HOSTED, "name": f"com.example/number-{number}"} for number in range(3)]
        registry = Registry(served.origin, LOCAL, clock=lambda: now)
        first = await registry.search("number", limit=2)
        assert [server.name for server in first.servers] == ["com.example/number-0", "com.example/number-1"]
        second = await registry.search("number", after=first.following, limit=2)
        assert [server.name for server in second.servers] == ["com.example/number-2"]
        assert second.following is None
        assert served.asked[1] == "/v0.1/servers?version=latest&limit=2&search=number&cursor=2"
        await registry.search("number", limit=2)
        assert len(served.asked) == 2
        now = client.KEPT_SECONDS + 1
        await registry.search("number", limit=2)
        assert len(served.asked) == 3
        one = await registry.server("com.example/number-1", "latest")
        assert (one.name, one.version) == ("com.example/number-1", "2.0.0")
        assert served.asked[-1].startswith("/v0.1/servers/com.example%2Fnumber-1/versions/latest")


async def test_what_goes_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listing() as served:
        registry = Registry(served.origin, LOCAL)
        for broken, words in (
            ((500, b""), "127.0.0.1 answered with 500"),
            ((302, b""), "127.0.0.1 answered with 302"),
            ((200, b"<html>"), "something else than a registry"),
            ((200, b'{"servers": 7}'), "something else than a registry"),
            ((200, b" " * (client.MAX_BYTES + 1)), "no answer that can be used"),
        ):
            served.broken = broken
            with pytest.raises(RegistryFailed, match=words):
                await registry.search()
        served.broken = None
        with pytest.raises(RegistryFailed, match="has no such server") as caught:
            await registry.server("com.example/nobody", "latest")
        assert not caught.value.found
        asked = len(served.asked)
        for name, version in (("..", "latest"), ("com.example/hosted", ".."), (".", "latest")):
            with pytest.raises(RegistryFailed, match="has no such server"):
                await registry.server(name, version)
        assert len(served.asked) == asked, "no name leads to another address of the registry"
        assert len((await registry.search()).servers) == 2, "what went wrong is not kept"
        with pytest.raises(RegistryFailed, match="not public; METAMCP_OUTWARD_ALLOWED"):
            await Registry(served.origin.replace("http:", "https:"), Guard()).search()
        monkeypatch.setattr(client, "SECONDS", 0.05)
        served.hangs = True
        with pytest.raises(RegistryFailed, match="took longer than"):
            await registry.search("slow")
    with pytest.raises(RegistryFailed, match="cannot be reached"):
        await registry.search("gone")
