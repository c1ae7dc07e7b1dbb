"""Fixtures that every part of the tests may use: a real gateway, as `metamcp serve` runs it."""

import contextlib
import gc
import itertools
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.browser.chromium import browser, chromium  # noqa: F401 - fixtures
from tests.databases import (  # noqa: F401 - fixtures
    database,
    empty_database,
    postgres,
    postgres_url,
    postgres_with_tables,
    store,
)
from tests.lab.running import lab  # noqa: F401 - a fixture
from tests.places import BIN, ROOT
from tests.processes import Program, running
from tests.redis import prefix, redis, redis_cluster, redis_or_none, shared_redis  # noqa: F401 - fixtures

# Property tests are not timed: other tests run beside them.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_sessionstart() -> None:
    """Collects no garbage while thousands of tests are collected, of which there is none."""
    gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Takes the tests out of the garbage collector's sight, which would walk through them all each time."""
    gc.enable()
    gc.collect()
    gc.freeze()


class RunningGateway:
    """One `metamcp serve` of a test, on a port of its own."""

    def __init__(self, program: Program, origin: str, config: Path) -> None:
        self.program = program
        self.origin = origin
        self.config = config

    def url(self, endpoint: str = "default") -> str:
        """Returns the URL of an endpoint."""
        return f"{self.origin}/metamcp/{endpoint}/mcp"


StartGateway = Callable[..., RunningGateway]


@contextlib.contextmanager
def serve(config: Mapping[str, Any], folder: Path, env: Mapping[str, str] | None = None) -> Iterator[RunningGateway]:
    """Runs `metamcp serve` for the length of a `with` block, on a free port.

    Args:
        config: what its configuration file says.
        folder: where that file is written.
        env: variables added to its environment.
    """
    path = folder / "mcp.json"
    path.write_text(json.dumps(config))
    command: list[str | Path] = [BIN / "metamcp", "serve", path, "--host", "127.0.0.1", "--port", "0"]
    with running(command, r"(http://127\.0\.0\.1:\d+)/metamcp/", env, ROOT) as (program, ready):
        yield RunningGateway(program, ready[1], path)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives tests that share a fixture to one worker of pytest-xdist, so that it is set up once and not in each."""
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue
        group = "lab" if "lab" in getattr(item, "fixturenames", ()) else _module_of_shared_fixture(item)
        if group:
            item.add_marker(pytest.mark.xdist_group(group))


def _module_of_shared_fixture(item: pytest.Item) -> str:
    found: Mapping[str, Sequence[Any]] = getattr(item, "_fixtureinfo").name2fixturedefs  # noqa: B009 - has no type
    # Those with an underscore are event loops, which cost nothing.
    shared = (each[-1].scope == "module" for name, each in found.items() if each and not name.startswith("_"))
    return item.location[0] if any(shared) else ""


_running: list[RunningGateway] = []


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartGateway]:
    """Starts gateways: `gateway(config, env=None)`. Each is ended with the session."""
    number = itertools.count(1)
    with contextlib.ExitStack() as stack:

        def start(config: Mapping[str, Any], env: Mapping[str, str] | None = None) -> RunningGateway:
            folder = tmp_path_factory.mktemp(f"gateway{next(number)}-")
            started = stack.enter_context(serve(config, folder, env))
            _running.append(started)
            return started

        yield start
        _running.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows, with a test that failed, the last lines that each gateway printed."""
    report = yield
    if report.failed:
        for gateway in _running:
            lines = gateway.program.output().splitlines()[-100:]
            report.sections.append((f"gateway {gateway.origin}", "\n".join(lines)))
    return report
