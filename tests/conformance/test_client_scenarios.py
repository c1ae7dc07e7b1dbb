"""The suite's client scenarios that need no OAuth: what a server sees of the gateway."""

import shlex
from pathlib import Path

import pytest

from tests.conformance.suite import judge, run_client_scenario, scenarios
from tests.places import BIN

pytestmark = [pytest.mark.conformance, pytest.mark.node]

COMMAND = f"{shlex.quote(str(BIN / 'python'))} -m tests.conformance.client_through_gateway"


@pytest.mark.parametrize(("revision", "name"), scenarios("client"))
def test_server_sees_a_conforming_client(revision: str, name: str, tmp_path: Path) -> None:
    scenario, output = run_client_scenario(COMMAND, name, revision, tmp_path)
    assert scenario.checks, output
    print(output)
    judge("client", scenario)
