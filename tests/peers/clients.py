"""MCP clients of other makers, each run as a program of its own by a small driver.

A driver (`drivers/`) is run as `DRIVER URL KEY MODE CALLS`, connects with the key as bearer token, lists the tools,
makes the calls (a JSON list of `[name, arguments]`), and prints one line of JSON: `revision`, `tools`, and `results`.
"""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.places import BIN, NODE_MODULES, client_python, node

DRIVERS = Path(__file__).parent / "drivers"


@dataclass(frozen=True, slots=True)
class Client:
    """One client as the tests run it.

    Attributes:
        name: what the tests call it.
        driver: file in `drivers/`.
        environment: of scripts/install-test-peers.sh, or None for the tests' own.
        mode: the driver's MODE argument.
        revision: what it must come to speak with a gateway that knows every revision.
    """

    name: str
    driver: str
    environment: str | None
    mode: str
    revision: str

    def command(self) -> list[str]:
        """Returns the program and its first argument."""
        if self.driver.endswith(".mjs"):
            return [str(node()), str(DRIVERS / self.driver)]
        python = client_python(self.environment) if self.environment else BIN / "python"
        return [str(python), str(DRIVERS / self.driver)]

    def run(self, url: str, key: str, calls: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
        """Lists and calls through `url`, and returns what the driver printed."""
        command = [*self.command(), url, key, self.mode, json.dumps(calls)]
        environment = {**os.environ, "NODE_PEERS": str(NODE_MODULES.parent)}
        ran = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        assert ran.returncode == 0, f"{self.name} failed:\n{ran.stdout}\n{ran.stderr}"
        found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        return found


CLIENTS = [
    Client("python-sdk-2", "python_sdk_2.py", None, "auto", "2026-07-28"),
    Client("python-sdk-2-legacy", "python_sdk_2.py", None, "legacy", "2025-11-25"),
    Client("python-sdk-1.30.0", "python_sdk_1.py", "mcp-1.30.0", "", "2025-11-25"),
    Client("python-sdk-1.12.4", "python_sdk_1.py", "mcp-1.12.4", "", "2025-06-18"),
    # 1.8.1 asks for 2024-11-05 over Streamable HTTP, which came with 2025-03-26, and sends no version header.
    Client("python-sdk-1.8.1", "python_sdk_1.py", "mcp-1.8.1", "", "2024-11-05"),
    Client("fastmcp-4", "fastmcp_4.py", "fastmcp-4.1.2", "auto", "2026-07-28"),
    Client("typescript-sdk-1", "typescript_sdk_1.mjs", None, "", "2025-11-25"),
    Client("typescript-client-2", "typescript_client_2.mjs", None, "auto", "2026-07-28"),
    Client("typescript-client-2-legacy", "typescript_client_2.mjs", None, "legacy", "2025-11-25"),
]
