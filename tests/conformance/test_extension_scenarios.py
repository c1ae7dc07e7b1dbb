"""The suite's scenarios of the tasks extension, through the gateway, in front of a server that has it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import judge, run_server_scenario, scenarios
from tests.conftest import StartGateway
from tests.places import BIN, ROOT
from tests.processes import running

pytestmark = [pytest.mark.conformance, pytest.mark.node]


@pytest.fixture(scope="module")
def url(gateway: StartGateway) -> Iterator[str]:
    with running([BIN / "python", "-m", "tests.conformance.tasks_server"], r"^ready (\S+)", cwd=ROOT) as (_, ready):
        config = {
            "mcpServers": {"tasks": {"url": ready[1]}},
            "namespaces": {"plain": {"servers": ["tasks"], "prefix": "never"}},
            "endpoints": {"conformance": {"namespace": "plain", "apiKeyAuth": False}},
        }
        yield gateway(config).url("conformance")


@pytest.mark.xdist_group("conformance-extensions")
@pytest.mark.parametrize("name", [name for revision, name in scenarios("server") if revision == "extensions"])
def test_scenario_of_an_extension_passes_through_the_gateway(url: str, name: str, tmp_path: Path) -> None:
    scenario, output = run_server_scenario(url, name, tmp_path)
    assert scenario.checks, output
    judge("server-extensions", scenario)
