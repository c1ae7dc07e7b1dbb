"""`/metrics`: what is counted, over all processes, in the form that Prometheus reads, and for whom."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx2
import pytest
import pytest_asyncio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from metamcp_asgi.asgi.auth import FAILURES_PER_MINUTE
from metamcp_asgi.config.source import FileSource
from metamcp_asgi.gateway import Gateway
from metamcp_asgi.metrics.sheet import BOUNDS
from metamcp_asgi.settings import Settings
from tests.admin.managed import ADMIN, ENDPOINTS_ONLY, MEMBER, managed
from tests.gateway.running import document_of
from tests.redis import Redis
from tests.serving import GatewayInProcess, gateway, serving, until
from tests.stdio import stdio
from tests.workers.running import RunningWorkers, workers_for

Labels = Mapping[str, str]


def samples(text: str, name: str, **labels: str) -> list[tuple[Labels, float]]:
    """Returns the samples of a name that have these labels."""
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return [
        (sample.labels, sample.value)
        for sample in found
        if sample.name == name and labels.items() <= sample.labels.items()
    ]


def total(text: str, name: str, **labels: str) -> float:
    return sum(value for _, value in samples(text, name, **labels))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[GatewayInProcess]:
    sections = {
        "namespaces": {
            "n": {"servers": ["s"], "tools": {"s__count": {"enabled": False}}},
            "lost": {"servers": ["down"]},
        },
        "endpoints": {
            name: {"namespace": to, "apiKeyAuth": False} for name, to in (("default", "n"), ("lost", "lost"))
        },
    }
    down = {"url": "http://127.0.0.1:9/mcp"}
    async with gateway({"s": stdio(tools=["failing"]), "down": down}, **sections) as started:
        await started.ready()
        yield started


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def scraped(running: GatewayInProcess, **headers: str) -> str:
    answer = await running.http.get(f"{running.served.origin}/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_a_call_counts_once_where_it_belongs(running: GatewayInProcess) -> None:
    before = await scraped(running)
    await running.text("s__echo")
    await running.text("s__echo")
    now = await scraped(running)
    labels = {"endpoint": "default", "server": "s", "method": "tools/call", "tool": "echo"}
    assert total(now, "metamcp_calls_total", **labels, outcome="ok") == 2 + total(
        before, "metamcp_calls_total", **labels
    )
    count = total(now, "metamcp_call_seconds_count", **labels)
    assert count == total(now, "metamcp_calls_total", **labels)
    assert count == total(now, "metamcp_call_seconds_bucket", **labels, le="+Inf")
    assert 0 < total(now, "metamcp_call_seconds_sum", **labels) < 30


async def test_every_ending_has_its_outcome(running: GatewayInProcess) -> None:
    await running.call("s__count")
    await running.ask("tools/call", name="s__nothing", arguments={})
    await running.call("s__crash")
    await running.endpoint("lost").ask("tools/call", name="down__any", arguments={})
    text = await scraped(running)
    outcomes = {labels["outcome"]: labels for labels, _ in samples(text, "metamcp_calls_total", method="tools/call")}
    assert outcomes["refused"]["tool"] == "", "a name that leads nowhere makes no series"
    assert outcomes["unknown"]["tool"] == ""
    assert total(text, "metamcp_calls_total", tool="crash", outcome="unavailable") == 1
    assert total(text, "metamcp_calls_total", endpoint="lost", tool="", outcome="unavailable") == 1
    assert total(text, "metamcp_server_up", server="down") == 0
    assert total(text, "metamcp_processes") == 1


async def test_lists_and_streams_count(running: GatewayInProcess) -> None:
    async with running.listening():
        text = await scraped(running)
        assert total(text, "metamcp_streams") == 1
    await running.tools()
    await running.text("s__echo")  # its child is there
    text = await scraped(running)
    assert total(text, "metamcp_calls_total", method="tools/list", outcome="ok") >= 1
    assert total(text, "metamcp_children") == 1
    assert total(text, "metamcp_http_responses_total", status="2xx") >= 1
    before = total(text, "metamcp_sessions_opened_total")
    await running.session()
    assert total(await scraped(running), "metamcp_sessions_opened_total") == before + 1


async def test_openmetrics_is_there_for_who_asks(running: GatewayInProcess) -> None:
    await running.text("s__echo")
    text = await scraped(running, Accept="application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")
    assert {family.name for family in parse_openmetrics(text)} >= {"metamcp_calls", "metamcp_call_seconds"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example:12008"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"X-Real-IP": "127.0.0.1"},
    ],
)
async def test_what_is_not_of_this_machine_sees_nothing(running: GatewayInProcess, headers: dict[str, str]) -> None:
    answer = await running.http.get(f"{running.served.origin}/metrics", headers=headers)
    assert answer.status_code == 403
    assert "METAMCP_OPEN_METRICS" in answer.json()["message"]
    assert "default" not in answer.text


async def test_a_setting_shows_them_to_everybody() -> None:
    async with gateway({"s": stdio()}, Settings(open_metrics=True)) as started:
        answer = await started.http.get(f"{started.served.origin}/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
        assert answer.status_code == 200
        refused = await started.http.post(f"{started.served.origin}/metrics")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


async def test_medians_are_there_for_the_pages(running: GatewayInProcess) -> None:
    await running.text("s__echo")
    calls = running.gateway.metrics.snapshot().by("server", "tool")[("s", "echo")]
    assert calls.count >= 1
    assert calls.errors == 0
    median, most = calls.quantile(0.5), calls.quantile(0.95)
    assert median is not None
    assert most is not None
    assert 0 < median <= most <= BOUNDS[-1]


async def _called(workers: RunningWorkers, times: int) -> None:
    for pid in workers.pids():
        for _ in range(times):
            assert (await workers.at(pid).call("one__echo")).status == 200


async def _scraped_at(workers: RunningWorkers, pid: int) -> str:
    answer = await workers.at(pid).send("GET", target="/metrics")
    assert answer.status == 200, answer
    return answer.body.decode()


async def test_each_process_tells_the_numbers_of_all(shared_redis: Redis, tmp_path: Path) -> None:
    document = document_of({"one": stdio()})
    ok = {"tool": "echo", "outcome": "ok"}
    async with workers_for(document, shared_redis, tmp_path.name, tmp_path) as workers:
        await _called(workers, 2)
        for pid in workers.pids():
            text = await _scraped_at(workers, pid)
            assert total(text, "metamcp_calls_total", **ok) == 4
            # The two of them, and the one that runs the server.
            assert total(text, "metamcp_processes") == 3
            assert total(text, "metamcp_children") == 1
        killed, other = workers.pids()
        os.kill(killed, signal.SIGKILL)
        (new,) = await until(lambda: set(workers.pids()) - {killed, other})
        await workers.read(new)
        await _called(workers, 1)
        assert total(await _scraped_at(workers, new), "metamcp_calls_total", **ok) == 6


async def test_an_administrator_of_a_database_sees_them_from_anywhere(tmp_path: Path) -> None:
    async with managed(f"sqlite:///{tmp_path}/metamcp.db") as running, httpx2.AsyncClient(timeout=20) as http:

        async def asked(key: str | None = None, path: str = "/metrics") -> httpx2.Response:
            headers = {"X-Forwarded-For": "203.0.113.9"} | ({"Authorization": f"Bearer {key}"} if key else {})
            return await http.get(f"http://127.0.0.1:{running.port}{path}", headers=headers)

        stranger = await asked()
        assert stranger.status_code == 401
        assert "Bearer" in stranger.headers["www-authenticate"]
        assert [(await asked(key)).status_code for key in ("sk_mt_wrong", MEMBER, ENDPOINTS_ONLY)] == [401, 403, 403]
        assert (await asked(ADMIN)).status_code == 200
        # Wrong keys are counted together with those at the management API: of each alone, so many are let pass.
        half = FAILURES_PER_MINUTE - 1
        tries = [asked("sk_mt_wrong", path) for path in ("/metrics", "/api/v1/servers") for _ in range(half)]
        assert 429 in {answer.status_code for answer in await asyncio.gather(*tries)}


async def test_a_gateway_of_a_file_has_them_too(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"mcpServers": {}}')
    source = FileSource(path, dict)
    gateway = Gateway(source.load(), Settings(), source=source)
    async with serving(gateway, lifespan="on") as served, httpx2.AsyncClient(timeout=20) as http:
        assert "metamcp_http_requests_in_flight 1.0" in (await http.get(f"{served.origin}/metrics")).text
