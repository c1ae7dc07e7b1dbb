"""Private Redis servers for tests: each on a port of its own, in a folder of its own, without persistence."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import free_port


class Redis:
    """A Redis server that can be killed, stopped and started again on the same port.

    Args:
        options: further command line options.
    """

    def __init__(self, *options: str) -> None:
        program = shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/usr/sbin")
        assert program, "Redis is missing: run `make test-environment`"
        self.program = program
        self._options = options
        self._folder = tempfile.mkdtemp(prefix="redis-")
        self._server: subprocess.Popen[bytes] | None = None
        self.port = 0
        for _ in range(10):  # another program may take the port before the server does
            self.port = free_port()
            with contextlib.suppress(AssertionError):
                self.start()
                return
        raise AssertionError((Path(self._folder) / "log").read_text())

    @property
    def url(self) -> str:
        """For processes of a test."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Starts it, empty, and waits until it answers."""
        log = Path(self._folder) / "log"
        began = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._server = subprocess.Popen(
                [self.program, *self._arguments(), *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        for _ in range(600):
            assert self._server.poll() is None, log.read_text()
            if b"Ready to accept connections" in log.read_bytes()[began:]:
                return
            time.sleep(0.02)
        raise AssertionError(log.read_text())

    def _arguments(self) -> list[str]:
        return ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self._folder]

    def cli(self, *command: str) -> str:
        """Runs a command, and returns what `redis-cli` prints."""
        program = Path(self.program).with_name("redis-cli")
        done = subprocess.run(
            [program, "-p", str(self.port), *command], capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._server is not None
        self._server.send_signal(number)

    def kill(self) -> None:
        """Kills it at once, with all that it knew."""
        assert self._server is not None
        self._server.kill()
        self._server.wait(30)

    def close(self) -> None:
        """Ends it."""
        if self._server is not None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class RedisCluster:
    """A Redis Cluster on this machine.

    Args:
        shares: how many nodes share the keys.
        replicas: how many further nodes copy the first one.
    """

    def __init__(self, shares: int, replicas: int = 0) -> None:
        self.nodes: list[Redis] = []
        try:
            for _ in range(shares + replicas):
                options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
                self.nodes.append(Redis(*options, "--repl-diskless-sync-delay", "0"))
            first = self.nodes[0]
            for number, node in enumerate(self.nodes[:shares]):
                begin, end = (16384 * each // shares for each in (number, number + 1))
                assert node.cli("cluster", "addslotsrange", str(begin), str(end - 1)) == "OK"
            for node in self.nodes[1:]:
                port = node.cli("config", "get", "cluster-port").split()[1]
                assert first.cli("cluster", "meet", "127.0.0.1", str(node.port), port) == "OK"
            self._wait(f"cluster_known_nodes:{len(self.nodes)}", "cluster_state:ok")
            for node in self.nodes[shares:]:
                assert node.cli("cluster", "replicate", first.cli("cluster", "myid")) == "OK"
        except BaseException:
            self.close()
            raise

    def _wait(self, *facts: str) -> None:
        for _ in range(600):
            if all(fact in node.cli("cluster", "info") for node in self.nodes for fact in facts):
                return
            time.sleep(0.02)
        raise AssertionError(facts)

    @property
    def url(self) -> str:
        """For processes of a test."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def close(self) -> None:
        """Ends it."""
        for node in self.nodes:
            node.close()


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[Redis]:
    """A Redis server of this session, as a cluster of one node, so that keys in more than one slot are refused."""
    cluster = RedisCluster(1)
    yield cluster.nodes[0]
    cluster.close()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """A cluster of three nodes of this session."""
    cluster = RedisCluster(3)
    yield cluster
    cluster.close()


@pytest.fixture
def prefix() -> str:
    """Of the keys of one test."""
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["one process", "two processes"])
def redis_or_none(request: pytest.FixtureRequest) -> Redis | None:
    """For tests of both: with one process there is no Redis."""
    return None if request.param == "one process" else request.getfixturevalue("shared_redis")


@pytest.fixture
def redis() -> Iterator[Redis]:
    """A Redis server of one test, which may do harm to it."""
    server = Redis()
    try:
        yield server
    finally:
        server.close()
