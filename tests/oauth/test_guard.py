"""What somebody else names is asked only where it is public, or where the operator allows it (check 94, SB-03)."""

import asyncio
from typing import Any

import pytest

from metamcp_asgi.outward.fetch import Fetcher, OutwardFailed
from metamcp_asgi.outward.guard import Guard, OutwardRefused
from tests.serving import serving


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://10.1.2.3/",
        "https://192.168.0.1/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[64:ff9b:1::7f00:1]/",
        "https://[64:ff9b:1::5db8:d70e]/",
        "https://[::127.0.0.1]/",
        "https://[::ffff:0:127.0.0.1]/",
        "https://[fec0::1]/",
        "https://[4000::1]/",
        "https://[2002:7f00:1::]/",
        "https://224.0.0.1/",
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://user@example.com/",
        "https:///path",
        "https://example.com:0/",
        "https://exa\tmple.com/",
        "x",
    ],
)
def test_94_a_url_that_leads_inside_is_refused_by_its_look(url: str) -> None:
    with pytest.raises(OutwardRefused):
        Guard().url(url)


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f.1", "127.1"])
async def test_94_a_name_that_leads_inside_is_refused_when_it_is_resolved(host: str) -> None:
    fetcher = Fetcher(Guard())
    try:
        with pytest.raises((OutwardRefused, OutwardFailed)) as refused:
            await fetcher.fetch(f"https://{host}:1/")
        assert host != "localhost" or isinstance(refused.value, OutwardRefused)
    finally:
        await fetcher.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "https://93.184.215.14/x",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
        "https://[64:ff9b::5db8:d70e]/",
        "https://[::ffff:93.184.215.14]/",
    ],
)
def test_what_is_public_may_be_asked(url: str) -> None:
    Guard().url(url)


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("10.0.0.0/8", "http://10.1.2.3/"),
        ("127.0.0.1", "http://127.0.0.1:8080/realms/x"),
        ("keycloak.internal", "http://keycloak.internal:8080/"),
        ("*.corp", "http://idp.corp/"),
        ("fd00::/8", "https://[fd00::1]/"),
    ],
)
def test_what_the_operator_allows_may_be_asked(allowed: str, url: str) -> None:
    Guard([allowed]).url(url)


@pytest.mark.parametrize("wrong", ["10.0.0.0/33", "a/b", "http://x", ""])
def test_what_allows_nothing_is_told(wrong: str) -> None:
    with pytest.raises(ValueError, match="neither"):
        Guard([wrong])


async def inside(scope: Any, receive: Any, send: Any) -> None:
    """A server inside, which redirects to itself, says too much, or says nothing."""
    if scope["path"] == "/slow":
        await receive()
        await receive()  # until the client has left
        return
    status = 302 if scope["path"] == "/away" else 200
    headers = [(b"location", b"http://169.254.169.254/"), (b"set-cookie", b"a=b")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"x" * (5000 if scope["path"] == "/large" else 10)})


async def test_94_redirects_are_not_followed_and_answers_are_bounded() -> None:
    async with serving(inside) as server:
        fetcher = Fetcher(Guard(["127.0.0.0/8"]), seconds=5)
        hasty = Fetcher(Guard(["127.0.0.0/8"]), seconds=0.2)
        try:
            away = await fetcher.fetch(f"{server.origin}/away")
            assert (away.status, away.body) == (302, b"x" * 10)
            with pytest.raises(OutwardFailed):
                await fetcher.fetch(f"{server.origin}/large", max_bytes=4999)
            assert len((await fetcher.fetch(f"{server.origin}/large", max_bytes=5000)).body) == 5000
            async with asyncio.timeout(15):
                with pytest.raises(OutwardFailed, match=r"longer than 0\.2 seconds"):
                    await hasty.fetch(f"{server.origin}/slow")
        finally:
            await fetcher.aclose()
            await hasty.aclose()
