"""The sites of `deploy/nginx`: a real nginx with TLS, in front of real gunicorns of two workers each."""

import contextlib
import json
import signal
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.deploy.nginx import HOST, Site, site
from tests.places import BIN, ROOT
from tests.processes import Program, free_port
from tests.redis import Redis
from tests.serving import Client
from tests.stdio import stdio

pytestmark = pytest.mark.nginx

KEY = "sk_mt_behind_nginx_0000000000"
BY_ADDRESS = {"strategy": "ip", "maxRate": 2, "maxRateSeconds": 3600}
DOCUMENT: Mapping[str, Any] = {
    "mcpServers": {"s": stdio()},
    "namespaces": {"n": {"servers": ["s"]}},
    "endpoints": {
        "default": {"namespace": "n"},
        **{name: {"namespace": "n", "clientRateLimit": BY_ADDRESS} for name in ("limited", "direct")},
    },
    "apiKeys": [{"name": "one", "key": KEY}],
}


@dataclass(frozen=True, slots=True)
class Sites:
    """The two sites, and the port of a gateway behind both."""

    one: Site
    many: Site
    port: int


@contextlib.contextmanager
def nodes(config: Path, redis: Redis, prefix: str, count: int) -> Iterator[list[int]]:
    """Runs gunicorns of two workers each; yields their ports."""
    ports = [free_port() for _ in range(count)]
    env = {
        "MCP_CONFIG": str(config),
        "METAMCP_REDIS_URL": redis.url,
        "METAMCP_REDIS_PREFIX": prefix,
        "METAMCP_SECRET_KEYS": "0123456789abcdef" * 4,
        "APP_URL": f"https://{HOST}",
    }
    command: list[str | Path] = [BIN / "gunicorn", "--chdir", "examples", "--workers", "2"]
    command += ["--worker-class", "metamcp_asgi.worker.GatewayWorker", "gunicorn_app:app", "--bind"]
    programs = [Program([*command, f"127.0.0.1:{port}"], env, ROOT) for port in ports]
    try:
        for program in programs:
            program.wait_for_line("Listening at")
        yield ports
    finally:
        for program in programs:
            program.signal(signal.SIGTERM)
        for program in programs:
            program.stop(30.0)


@pytest.fixture(scope="module")
def sites(shared_redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    folder = tmp_path_factory.mktemp("nodes")
    config = folder / "mcp.json"
    config.write_text(json.dumps(DOCUMENT))
    with contextlib.ExitStack() as stack:
        first, second = stack.enter_context(nodes(config, shared_redis, folder.name, 2))
        one = site("one-node.conf", {"127.0.0.1:12008": first}, tmp_path_factory.mktemp("one"))
        addresses = {"10.0.0.11:12008": first, "10.0.0.12:12008": second, "10.0.0.13:12008": free_port()}
        many = site("many-nodes.conf", addresses, tmp_path_factory.mktemp("many"))
        yield Sites(stack.enter_context(one), stack.enter_context(many), first)


@contextlib.asynccontextmanager
async def browsing(served: Site, source: str = "127.0.0.2") -> AsyncIterator[httpx2.AsyncClient]:
    """Yields a client of a site, from an address of its own."""
    trust = ssl.create_default_context(cafile=str(served.certificates))
    transport = httpx2.AsyncHTTPTransport(local_address=source, verify=trust, http2=True)
    async with httpx2.AsyncClient(timeout=30, transport=_Named(transport)) as http:
        yield http


class _Named(httpx2.AsyncBaseTransport):
    """Looks the site's name up: it is this machine's."""

    def __init__(self, inner: httpx2.AsyncHTTPTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.extensions = {**request.extensions, "sni_hostname": HOST}
        request.url = request.url.copy_with(host="127.0.0.1")
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def client(served: Site, http: httpx2.AsyncClient, endpoint: str = "default", key: str = KEY) -> Client:
    return Client(f"{served.origin}/metamcp/{endpoint}/mcp", http, key)


@pytest.fixture(params=["one", "many"])
def served(request: pytest.FixtureRequest, sites: Sites) -> Site:
    found: Site = getattr(sites, request.param)
    return found


async def test_calls_of_both_eras_come_through_over_http2(served: Site) -> None:
    async with browsing(served) as http:
        modern = client(served, http)
        assert await modern.text("s__echo", word="hello") == '{"word": "hello"}'
        assert (await modern.post("tools/list")).http_version == "HTTP/2"
        session = await modern.session()
        # Each may reach another worker, of another node.
        assert [await session.text("s__echo", n=n) for n in range(4)] == [f'{{"n": {n}}}' for n in range(4)]


async def test_an_event_of_a_stream_that_never_ends_is_not_held_back(served: Site) -> None:
    async with browsing(served) as http:
        modern = client(served, http)
        # Entered when the first event is there.
        async with modern.listening():
            assert await modern.text("s__echo", word="meanwhile") == '{"word": "meanwhile"}'


async def test_refusals_are_the_gateways_own_words(served: Site, sites: Sites) -> None:
    def known(answer: httpx2.Response) -> tuple[int, object, str | None]:
        body = answer.json()
        body.pop("timestamp", None)
        return answer.status_code, body, answer.headers.get("www-authenticate")

    async with browsing(served) as http, httpx2.AsyncClient(timeout=30, headers={"Host": HOST}) as beside:
        seen = []
        for base, asked in ((served.origin, http), (f"http://127.0.0.1:{sites.port}", beside)):
            stranger = Client(f"{base}/metamcp/default/mcp", asked)
            lost = Client(f"{base}/metamcp/nowhere/mcp", asked, KEY)
            known_one = Client(f"{base}/metamcp/default/mcp", asked, KEY)
            large = await known_one.post("tools/call", name="s__echo", arguments={"x": "x" * 4_500_000})
            wrong = await asked.post(known_one.url, content=b"{", headers={**known_one.headers})
            answers = [await stranger.post("tools/list"), await lost.post("tools/list"), large, wrong]
            seen.append([known(answer) for answer in answers])
        assert seen[0] == seen[1]
        assert [status for status, _, _ in seen[0]] == [401, 404, 413, 415]


async def test_a_client_counts_by_its_own_address(sites: Sites) -> None:
    async with browsing(sites.one, "127.0.0.2") as http, browsing(sites.one, "127.0.0.3") as other:
        limited = client(sites.one, http, "limited")
        statuses = [(await limited.post("tools/list")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        # What a client says of itself changes nothing.
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
            limited.headers[name] = "for=203.0.113.9" if name == "Forwarded" else "203.0.113.9"
            assert (await limited.post("tools/list")).status_code == 429
        assert (await client(sites.one, other, "limited").post("tools/list")).status_code == 200


async def test_nobody_but_the_proxy_is_believed(sites: Sites) -> None:
    transport = httpx2.AsyncHTTPTransport(local_address="127.0.0.4")
    async with httpx2.AsyncClient(timeout=30, transport=transport) as http:
        direct = Client(f"http://127.0.0.1:{sites.port}/metamcp/direct/mcp", http, KEY)
        statuses = []
        for number in range(3):
            direct.headers["X-Forwarded-For"] = f"203.0.113.{number}"
            statuses.append((await direct.post("tools/list")).status_code)
        assert statuses == [200, 200, 429]


async def test_a_node_that_is_away_costs_nobody_an_answer(sites: Sites) -> None:
    reached = set()
    for _ in range(6):
        async with browsing(sites.many) as http:
            answer = await client(sites.many, http).post("tools/call", name="s__echo", arguments={})
            assert answer.status_code == 200
            reached.add(answer.headers["x-node"].split(", ")[-1])
    assert len(reached) == 2


async def test_numbers_are_not_for_the_world(served: Site) -> None:
    async with browsing(served) as http:
        assert (await http.get(f"{served.origin}/metrics")).status_code == 404
        assert (await http.get(f"{served.origin}/health")).json() == {"status": "ok"}


async def test_who_comes_without_tls_is_sent_there(served: Site) -> None:
    async with httpx2.AsyncClient(timeout=30) as http:
        answer = await http.post(f"http://127.0.0.1:{served.plain}/metamcp/x/mcp?a=b", headers={"Host": HOST})
        assert answer.status_code == 308
        assert answer.headers["location"] == f"https://{HOST}/metamcp/x/mcp?a=b"
