"""The suite's server scenarios, through the gateway: whatever passes without it passes through it.

Each leg runs the suite once, and each scenario of it is a test of its own.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.conformance.conftest import EVERYTHING, EVERYTHING_PATH
from tests.conformance.suite import Scenario, judge, run_server_scenarios, scenarios
from tests.conftest import StartGateway
from tests.places import BIN

pytestmark = [pytest.mark.conformance, pytest.mark.node]


class Legs:
    """Runs of the suite, each made when its first scenario is asked for."""

    def __init__(self, everything_url: str, gateway: StartGateway, folder: Path) -> None:
        self._everything_url = everything_url
        self._gateway = gateway
        self._folder = folder
        self.direct = cache(self._direct)
        self.through_gateway = cache(self._through_gateway)

    def _direct(self, revision: str) -> Mapping[str, Scenario]:
        return run_server_scenarios(self._everything_url, revision, self._folder / f"direct-{revision}")

    def _through_gateway(self, upstream: str, revision: str) -> Mapping[str, Scenario]:
        server = {
            "http": {"url": self._everything_url},
            "stdio": {
                "command": str(BIN / "python"),
                "args": [str(EVERYTHING), "stdio"],
                "env": {"PYTHONPATH": str(EVERYTHING_PATH)},
            },
        }[upstream]
        gateway = self._gateway(
            {
                "mcpServers": {"everything": server},
                "namespaces": {"plain": {"servers": ["everything"], "prefix": "never"}},
                "endpoints": {"conformance": {"namespace": "plain", "apiKeyAuth": False}},
            }
        )
        return run_server_scenarios(gateway.url("conformance"), revision, self._folder / f"{upstream}-{revision}")


@pytest.fixture(scope="session")
def legs(everything_url: str, gateway: StartGateway, tmp_path_factory: pytest.TempPathFactory) -> Legs:
    return Legs(everything_url, gateway, tmp_path_factory.mktemp("conformance"))


def cases() -> list[object]:
    return [
        pytest.param(upstream, revision, name, marks=pytest.mark.xdist_group(f"conformance-{upstream}"))
        for upstream in ("http", "stdio")
        for revision, name in scenarios("server")
    ]


@pytest.mark.parametrize(("upstream", "revision", "name"), cases())
def test_scenario_passes_through_the_gateway(legs: Legs, upstream: str, revision: str, name: str) -> None:
    direct = legs.direct(revision)[name].failures()
    assert not direct, f"fails without the gateway: {direct}"

    judge("server", legs.through_gateway(upstream, revision)[name])


@pytest.mark.xdist_group("conformance-http")
@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_no_scenario_of_the_suite_is_left_out(legs: Legs, revision: str) -> None:
    assert [(revision, name) for name in sorted(legs.direct(revision))] == sorted(
        case for case in scenarios("server") if case[0] == revision
    )
