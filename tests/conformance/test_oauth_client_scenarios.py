"""The suite's OAuth scenarios for clients: what authorization servers see of the gateway."""

import asyncio
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conformance.oauth_driver import driver
from tests.conformance.suite import Scenario, judge, results
from tests.places import ROOT, npm_program

pytestmark = [pytest.mark.conformance, pytest.mark.node]

RELAY = Path(__file__).with_name("relay.py")


async def played(folder: Path, *chosen: str) -> tuple[Mapping[str, Scenario], str]:
    """Runs scenarios that the suite is told to choose, and returns what each found, and what was said."""
    async with driver(folder) as driving:
        command = f"{shlex.quote(sys.executable)} -S -E {shlex.quote(str(RELAY))} {driving.port}"
        arguments = ["client", "--command", command, *chosen]
        suite = await asyncio.create_subprocess_exec(
            *npm_program("conformance"),
            *arguments,
            "--timeout",
            "100000",
            "--output-dir",
            str(folder / "results"),
            env={**os.environ, "NO_COLOR": "1"},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(suite.communicate(), 110)
        said = "\n".join(f"{name}: {lines}" for name, lines in sorted(driving.said.items()))
    found = results(folder / "results")
    # Others of the suite, which it cannot leave out, have tests of their own.
    named = [name.removeprefix("auth/") for name in driving.said]
    return {name: found[name] for name in named}, f"{said}\n{output.decode()}"


async def test_authorization_servers_see_a_conforming_client(tmp_path: Path) -> None:
    found, output = await played(tmp_path, "--suite", "all", "--spec-version", "2026-07-28")
    print(output)
    assert len(found) >= 25
    for scenario in found.values():
        judge("client", scenario)


@pytest.mark.parametrize("shown", ["basic", "jwt"])
async def test_the_gateway_can_ask_in_its_own_name(tmp_path: Path, shown: str) -> None:
    found, output = await played(tmp_path, "--scenario", f"auth/client-credentials-{shown}")
    print(output)
    ((_, scenario),) = found.items()
    assert scenario.checks
    judge("client", scenario)
