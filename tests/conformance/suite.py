"""Runs the official conformance suite and reads what it found.

Knows the suite's command line, the folder of results that it writes, and the file of exceptions. Knows nothing of what
is being tested, which is a URL or a command.
"""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.places import CACHE, ROOT, npm_program

SCENARIOS = Path(__file__).with_name("scenarios.yml")
EXCEPTIONS = Path(__file__).with_name("exceptions.yml")

# Results of a check that do not fail a scenario; a WARNING is about something that the specification only recommends.
HARMLESS = frozenset({"SUCCESS", "SKIPPED", "INFO", "WARNING"})


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one scenario found: its checks, as the suite wrote them."""

    name: str
    checks: Sequence[Mapping[str, Any]]

    def failures(self) -> dict[str, str]:
        """Returns the checks that failed, each with the suite's explanation."""
        return {
            check["id"]: f"{check.get('errorMessage', '')}\n{json.dumps(check.get('details', {}), indent=1)[:3000]}"
            for check in self.checks
            if check["status"] not in HARMLESS
        }


def scenarios(side: str) -> list[tuple[str, str]]:
    """Returns (revision, scenario) of all that scenarios.yml says of `server` or `client`."""
    named = yaml.safe_load(SCENARIOS.read_text())[side]
    return [(revision, name) for revision, names in named.items() for name in names]


def judge(side: str, scenario: Scenario) -> None:
    """Fails the test for a failure that exceptions.yml does not name with its reason, and for what it names in vain.

    Args:
        side: the part of exceptions.yml.
        scenario: what the suite found through the gateway.
    """
    named = yaml.safe_load(EXCEPTIONS.read_text())[side]
    allowed = {entry: why for entry, why in named.items() if entry.partition(":")[0] == scenario.name}
    failures = scenario.failures()
    explanation = "\n".join(f"{check}: {text}" for check, text in failures.items())
    assert {f"{scenario.name}:{check}": text.partition("\n")[0] for check, text in failures.items()} == allowed, (
        explanation
    )
    if allowed:
        pytest.xfail(f"named in exceptions.yml: {explanation}")


def results(folder: Path) -> dict[str, Scenario]:
    """Reads what a run of the suite left in its folder: one `[server-]SCENARIO-TIME/checks.json` a scenario."""
    found = {}
    for path in folder.rglob("checks.json"):
        name = re.sub(r"^server-|-\d{4}-\d\d-\d\dT[\d-]+Z$", "", path.parent.name)
        found[name] = Scenario(name, json.loads(path.read_text()))
    return found


def run_server_scenarios(url: str, revision: str, folder: Path) -> dict[str, Scenario]:
    """Runs every server scenario of a revision against a URL.

    Args:
        url: where the server, or the gateway, is; on the loopback.
        revision: `2025-11-25` or `2026-07-28`.
        folder: where the suite writes its results.
    """
    _conformance(["server", "--url", url, "--suite", "all", "--spec-version", revision], folder)
    return results(folder)


def run_server_scenario(url: str, scenario: str, folder: Path) -> tuple[Scenario, str]:
    """Runs one server scenario, on the wire that it chooses itself, as those of extensions do.

    Args:
        url: where the server, or the gateway, is; on the loopback.
        scenario: which one.
        folder: where the suite writes its results.

    Returns:
        What it found, and what the suite printed.
    """
    output = _conformance(["server", "--url", url, "--scenario", scenario], folder)
    found = results(folder)
    assert scenario in found, f"{scenario} gave no result:\n{output}"
    return found[scenario], output


def run_client_scenario(command: str, scenario: str, revision: str, folder: Path) -> tuple[Scenario, str]:
    """Runs one client scenario.

    Args:
        command: what the suite starts, with the URL of its mock server as last argument.
        scenario, revision: which one, on which wire.
        folder: where the suite writes its results.

    Returns:
        What it found, and what the suite and the command printed.
    """
    arguments = ["client", "--command", command, "--scenario", scenario, "--spec-version", revision]
    output = _conformance([*arguments, "--timeout", "100000", "--verbose"], folder)
    found = results(folder)
    assert scenario in found, f"{scenario} gave no result:\n{output}"
    return found[scenario], output


def _conformance(arguments: Sequence[str], folder: Path) -> str:
    process = subprocess.run(
        [*npm_program("conformance"), *arguments, "--output-dir", str(folder)],
        env={**os.environ, "NO_COLOR": "1", "NODE_COMPILE_CACHE": str(CACHE / "node-compiled")},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=110,
        check=False,  # it fails when any check failed, which the caller judges one by one
    )
    return process.stdout
