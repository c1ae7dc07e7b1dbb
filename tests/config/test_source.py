"""A configuration file as a source: no change is missed, however early it comes."""

import asyncio
from pathlib import Path

from metamcp_asgi.config.source import FileSource

ONE = '{"mcpServers": {"one": {"command": "one"}}}'
TWO = '{"mcpServers": {"two": {"command": "two"}}}'


async def test_a_change_before_the_file_is_watched_is_told_as_one_after_it(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text(ONE)
    source = FileSource(path, dict)
    assert set(source.load().servers) == {"one"}
    path.write_text(TWO)
    changes = source.changes()
    async with asyncio.timeout(15):
        await anext(changes)
        assert set((await source.reload()).servers) == {"two"}
        later = asyncio.ensure_future(anext(changes))
        path.write_text(ONE)
        await later
    assert set((await source.reload()).servers) == {"one"}
    await changes.aclose()
