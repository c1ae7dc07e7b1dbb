"""Puts middlewares where an installed package would be, and gateways with middlewares in front of scripted servers."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.running import RunningGateway, gateway_over
from tests.gateway.upstreams.raw import RawServer


@contextlib.contextmanager
def installed(folder: Path, patch: pytest.MonkeyPatch, module: str, source: str, **points: str) -> Iterator[None]:
    """Installs a package of one module, with entry points that name what is in it."""
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    lines = [f"{name} = {module}:{what}" for name, what in points.items()]
    (info / "entry_points.txt").write_text("[metamcp_asgi.middleware]\n" + "\n".join(lines) + "\n")
    patch.syspath_prepend(folder)
    yield


@contextlib.asynccontextmanager
async def through(
    middlewares: Sequence[Any], *, raw: RawServer, namespace: Mapping[str, Any] | None = None, **more: Any
) -> AsyncIterator[RunningGateway]:
    """Runs a gateway whose namespace has these middlewares in front of one server, `raw`."""
    async with gateway_over(
        {"raw": raw}, namespace={**(namespace or {}), "middlewares": middlewares}, **more
    ) as running:
        yield running
