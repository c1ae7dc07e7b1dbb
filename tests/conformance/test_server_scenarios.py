"""The suite's server scenarios, through the gateway: whatever passes without it passes through it.

Each leg runs the suite once, and each scenario of it is a test of its own. Over HTTP, the server is spoken to in the
era of the suite's client; over stdio in 2026-07-28, whichever that is; and in front of two workers, every request of
the suite has a connection of its own.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conformance.conftest import EVERYTHING, EVERYTHING_PATH
from tests.conformance.spreading import spreading
from tests.conformance.suite import Scenario, judge, run_server_scenarios, scenarios
from tests.conftest import StartGateway
from tests.places import BIN
from tests.redis import Redis

pytestmark = [pytest.mark.conformance, pytest.mark.node]


class Legs:
    """Runs of the suite, each made when its first scenario is asked for."""

    def __init__(
        self,
        everything_url: str,
        gateway: StartGateway,
        redis: Callable[[], Redis],
        folder: Path,
        stack: contextlib.ExitStack,
    ) -> None:
        self._everything_url = everything_url
        self._gateway = gateway
        self._redis = redis
        self._folder = folder
        self._stack = stack
        self.direct = cache(self._direct)
        self.through_gateway = cache(self._through_gateway)

    def _direct(self, revision: str) -> Mapping[str, Scenario]:
        return run_server_scenarios(self._everything_url, revision, self._folder / f"direct-{revision}")

    def _through_gateway(self, upstream: str, revision: str) -> Mapping[str, Scenario]:
        over_http = {"url": self._everything_url, "era": "legacy" if revision < "2026" else "modern"}
        server = {
            "http": over_http,
            "workers": over_http,
            "stdio": {
                "command": str(BIN / "python"),
                "args": [str(EVERYTHING), "stdio"],
                "env": {"PYTHONPATH": str(EVERYTHING_PATH)},
            },
        }[upstream]
        env = {"METAMCP_WORKERS": "2", "METAMCP_REDIS_URL": self._redis().url} if upstream == "workers" else {}
        gateway = self._gateway(
            {
                "mcpServers": {"everything": server},
                "namespaces": {"plain": {"servers": ["everything"], "prefix": "never"}},
                "endpoints": {"conformance": {"namespace": "plain", "apiKeyAuth": False}},
            },
            env,
        )
        url = urlsplit(gateway.url("conformance"))
        if upstream == "workers":
            assert url.port is not None
            url = url._replace(netloc=f"127.0.0.1:{self._stack.enter_context(spreading(url.port))}")
        return run_server_scenarios(url.geturl(), revision, self._folder / f"{upstream}-{revision}")


@pytest.fixture(scope="session")
def legs(
    request: pytest.FixtureRequest, everything_url: str, gateway: StartGateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Legs]:
    def redis() -> Redis:
        shared: Redis = request.getfixturevalue("shared_redis")
        return shared

    with contextlib.ExitStack() as stack:
        yield Legs(everything_url, gateway, redis, tmp_path_factory.mktemp("conformance"), stack)


def cases() -> list[object]:
    return [
        pytest.param(upstream, revision, name, marks=pytest.mark.xdist_group(f"conformance-{upstream}"))
        for upstream in ("http", "stdio", "workers")
        for revision, name in scenarios("server")
        if revision != "extensions"
    ]


@pytest.mark.parametrize(("upstream", "revision", "name"), cases())
def test_scenario_passes_through_the_gateway(legs: Legs, upstream: str, revision: str, name: str) -> None:
    direct = legs.direct(revision)[name].failures()
    assert not direct, f"fails without the gateway: {direct}"

    crossing = upstream == "stdio" and revision < "2026"
    judge("server-crossing" if crossing else "server", legs.through_gateway(upstream, revision)[name])


@pytest.mark.xdist_group("conformance-http")
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_no_scenario_of_the_suite_is_left_out(legs: Legs, revision: str) -> None:
    assert [(revision, name) for name in sorted(legs.direct(revision))] == sorted(
        case for case in scenarios("server") if case[0] == revision
    )
