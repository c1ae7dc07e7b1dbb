"""The suite's scenarios of the tasks extension, through gateways of one process and of two, to a server that has it.

With `pass`: the suite wants a server's own answer for clients without the extension, which the gateway usually drives.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.conftest import Publish
from tests.conformance.suite import Scenario, judge, run_server_scenario, scenarios
from tests.places import BIN, ROOT
from tests.processes import running

pytestmark = [pytest.mark.conformance, pytest.mark.node, pytest.mark.xdist_group("conformance-extensions")]

NAMES = [name for revision, name in scenarios("server") if revision == "extensions"]
PROCESSES = (1, 2)

# How many scenarios run at once; they wait for tasks most of their time.
AT_ONCE = 3

Found = tuple[Scenario, str]


@pytest.fixture(scope="module")
def found(publish: Publish, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int, str], Found]]:
    """Runs all scenarios, and returns what one found through the gateway of so many processes."""
    folder = tmp_path_factory.mktemp("extensions")
    server = [BIN / "python", "-m", "tests.conformance.tasks_server"]
    with running(server, r"^ready (\S+)", cwd=ROOT) as (_, ready), ThreadPoolExecutor(AT_ONCE) as pool:
        published = {"tasks": {"url": ready[1]}}
        urls = {count: publish(published, count, METAMCP_UNDECLARED_TASKS="pass")("tasks") for count in PROCESSES}
        begun = {
            (processes, name): pool.submit(run_server_scenario, url, name, folder / f"{processes}-{name}")
            for processes, url in urls.items()
            for name in NAMES
        }
        yield lambda processes, name: begun[processes, name].result()


@pytest.mark.parametrize("processes", PROCESSES)
@pytest.mark.parametrize("name", NAMES)
def test_scenario_of_an_extension_passes_through_the_gateway(
    found: Callable[[int, str], Found], processes: int, name: str
) -> None:
    scenario, output = found(processes, name)
    assert scenario.checks, output
    judge("server-extensions", scenario)
