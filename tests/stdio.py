"""How a configuration names the stdio server of `stdio_server.py`."""

import json
import sys
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "stdio_server.py"


def stdio(**options: Any) -> dict[str, Any]:
    """Returns the entry of `mcpServers` for a stdio server that behaves as told."""
    return {"command": sys.executable, "args": ["-I", "-S", str(SCRIPT), json.dumps(options, default=str)]}
