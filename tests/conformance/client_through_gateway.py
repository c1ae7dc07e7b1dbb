"""What the client scenarios start: a gateway in front of the suite's mock server, and a client of it.

    python client_through_gateway.py MOCK-SERVER-URL

What the mock server judges is the gateway's upstream side; the client only makes it do what the scenario is about. That
client is the conformance client of the SDK, which knows from its environment which scenario that is.
"""

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import serve
from tests.places import SDK

CLIENT = SDK / ".github" / "actions" / "conformance" / "client.py"

# Seconds that the client may take, most of which it needs to start when the machine is busy.
PATIENCE = 45

# Seconds that a list waits for the mock server, which is as busy; what it offers would be missing otherwise.
SERVER_DEADLINE = 15

# Seconds that it may take for a call. One that asks something of a client that can't be asked waits for a minute.
TIMEOUT = 20


def main(mock_url: str) -> int:
    config = {
        "mcpServers": {"mock": {"url": mock_url, "timeout": TIMEOUT}},
        "namespaces": {"plain": {"servers": ["mock"], "prefix": "never"}},
        "endpoints": {"conformance": {"namespace": "plain", "apiKeyAuth": False}},
    }
    env = {"METAMCP_SERVER_DEADLINE": str(SERVER_DEADLINE)}
    with tempfile.TemporaryDirectory() as folder, serve(config, Path(folder), env) as gateway:
        with contextlib.suppress(AssertionError):  # a server that cannot be read is what some scenario is about
            gateway.program.wait_for_line(r"^  mock: ", SERVER_DEADLINE)
        client = [sys.executable, CLIENT, gateway.url("conformance")]
        try:
            code = subprocess.run(client, check=False, timeout=PATIENCE).returncode
        except subprocess.TimeoutExpired:
            code = 1
    print(gateway.program.output(), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
