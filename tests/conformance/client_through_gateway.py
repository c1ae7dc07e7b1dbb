"""What the client scenarios start: a gateway in front of the suite's mock server, and a client of it.

    python client_through_gateway.py MOCK-SERVER-URL

What the mock server judges is the gateway's upstream side; the client only makes it do what the scenario is about. That
client is the conformance client of the SDK, which knows from its environment which scenario that is.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.conftest import serve
from tests.places import SDK

CLIENT = SDK / ".github" / "actions" / "conformance" / "client.py"

# Seconds. A server that asks something of a client that said it can't be asked may wait for the answer for a minute.
PATIENCE = 15


def main(mock_url: str) -> int:
    config = {
        "mcpServers": {"mock": {"url": mock_url}},
        "namespaces": {"plain": {"servers": ["mock"], "prefix": "never"}},
        "endpoints": {"conformance": {"namespace": "plain", "apiKeyAuth": False}},
    }
    with tempfile.TemporaryDirectory() as folder, serve(config, Path(folder)) as gateway:
        client = [sys.executable, CLIENT, gateway.url("conformance")]
        try:
            code = subprocess.run(client, check=False, timeout=PATIENCE).returncode
        except subprocess.TimeoutExpired:
            code = 1
    print(gateway.program.output(), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
