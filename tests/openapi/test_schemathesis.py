"""The bridge under fuzzing: every answer is one that the document announces, whatever is sent."""

import asyncio
import sys
from pathlib import Path

from tests.gateway.running import KEY_A
from tests.openapi.bridge import bridge_over

# Both GET and POST are served, of which the document names one; and arguments that a tool does not like make a result
# that its model reads: so the checks that forbid these are left out.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "ignored_auth",
)
CONFIG = """
[[operations]]
# It waits until its client leaves.
include-path = "/t__hold"
enabled = false
"""


async def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    async with bridge_over() as bridge:
        process = await asyncio.create_subprocess_exec(
            *(str(Path(sys.executable).with_name("schemathesis")), "run", "--no-color"),
            *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--max-examples", "15"),
            *("--header", f"Authorization: Bearer {KEY_A}", "--seed", "1"),
            f"http://127.0.0.1:{bridge.running.port}/metamcp/keyed/api/openapi.json",
            *("--header", f"X-API-Key: {KEY_A}"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text
    assert "passed" in text
