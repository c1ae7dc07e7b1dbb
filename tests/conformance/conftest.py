"""The SDK's everything-server, which alone passes every server scenario of both eras."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.places import BIN, SDK
from tests.processes import running

EVERYTHING = Path(__file__).parent.parent / "peers" / "servers" / "everything.py"
EVERYTHING_PATH = SDK / "examples" / "servers" / "everything-server"


@pytest.fixture(scope="session")
def everything_url() -> Iterator[str]:
    """URL of the everything-server, as its clients reach it without us."""
    environment = {"PYTHONPATH": str(EVERYTHING_PATH)}
    with running([BIN / "python", EVERYTHING], r"^ready (\S+)", environment) as (_, ready):
        yield ready[1]
