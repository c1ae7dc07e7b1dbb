"""A PostgreSQL server of one test, which may do harm to it; Redis is in tests/redis.py."""

from collections.abc import Iterator

import pytest

from tests.databases import PostgreSQL


@pytest.fixture
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    try:
        yield server
    finally:
        server.close()
