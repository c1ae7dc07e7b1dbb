"""The servers that the suite's server scenarios are about, and gateways of one process and of two in front of them."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conformance.spreading import spreading
from tests.conftest import StartGateway
from tests.places import BIN, ROOT, SDK
from tests.processes import running
from tests.redis import Redis

EVERYTHING = "tests.peers.servers.everything"
EITHER_ERA = "tests.conformance.either_era"
EVERYTHING_PATH = {"PYTHONPATH": f"{SDK / 'examples' / 'servers' / 'everything-server'}:{ROOT}"}

Publish = Callable[..., Callable[[str], str]]
"""Starts a gateway over servers by name, of so many processes, with further variables in its environment; returns what
gives the URL of a server's endpoint."""


@pytest.fixture(scope="session")
def everything_url() -> Iterator[str]:
    """URL of the SDK's everything-server, which alone passes every server scenario of both eras."""
    with running([BIN / "python", "-m", EVERYTHING], r"^ready (\S+)", EVERYTHING_PATH) as (_, ready):
        yield ready[1]


@pytest.fixture(scope="session")
def either_era_url() -> Iterator[str]:
    """URL of the same server, whose tools ask in whichever era they are called."""
    with running([BIN / "python", "-m", EITHER_ERA], r"^ready (\S+)", EVERYTHING_PATH) as (_, ready):
        yield ready[1]


@pytest.fixture(scope="session")
def sse_urls() -> Iterator[tuple[str, str]]:
    """URLs of the two over HTTP+SSE."""
    with (
        running([BIN / "python", "-m", EVERYTHING, "sse"], r"^ready (\S+)", EVERYTHING_PATH) as (_, everything),
        running([BIN / "python", "-m", EITHER_ERA, "sse"], r"^ready (\S+)", EVERYTHING_PATH) as (_, either_era),
    ):
        yield everything[1], either_era[1]


@pytest.fixture(scope="session")
def publish(gateway: StartGateway, request: pytest.FixtureRequest) -> Iterator[Publish]:
    """Starts gateways; in front of more than one process, every request has a connection of its own."""
    with contextlib.ExitStack() as stack:

        def start(servers: Mapping[str, Any], processes: int, **env: str) -> Callable[[str], str]:
            if processes > 1:
                redis: Redis = request.getfixturevalue("shared_redis")
                env |= {"METAMCP_WORKERS": str(processes), "METAMCP_REDIS_URL": redis.url}
            started = gateway(
                {
                    "mcpServers": servers,
                    "namespaces": {name: {"servers": [name], "prefix": "never"} for name in servers},
                    "endpoints": {name: {"namespace": name, "apiKeyAuth": False} for name in servers},
                },
                env,
            )
            if processes == 1:
                return started.url
            port = urlsplit(started.origin).port
            assert port is not None
            origin = f"http://127.0.0.1:{stack.enter_context(spreading(port))}"
            return lambda name: started.url(name).replace(started.origin, origin)

        yield start
