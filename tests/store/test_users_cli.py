"""``metamcp users``; at a terminal as a process of its own, as an operator runs it."""

import json
import os
import pty
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from metamcp_asgi.store.repository import Store
from metamcp_asgi.store.services import users
from metamcp_asgi.store.services.inputs import Unknown
from tests.command import metamcp
from tests.places import BIN

METAMCP = BIN / "metamcp"
KEY = "x" * 32
PASSWORD = "correct horse"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def url(empty_database: Callable[[], str], tmp_path: Path) -> str:
    made = empty_database()
    if made.startswith("postgresql"):
        upgraded = metamcp("db", "upgrade", "--database", made, env={"METAMCP_SECRET_KEYS": KEY}, cwd=tmp_path)
        assert upgraded.returncode == 0, upgraded.stderr
    return made


@pytest.fixture
def run(url: str, tmp_path: Path) -> Run:
    """Runs `metamcp users` on a database, with a text on its standard input."""

    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        environ = {"METAMCP_SECRET_KEYS": KEY, "DATABASE_URL": url}
        return metamcp("users", *arguments, env=environ, cwd=tmp_path, text=text)

    return run


async def logged_in(url: str, email: str, password: str) -> bool:
    store = await Store.open(url, environ={}, secret_keys=(KEY.encode(),))
    try:
        await users.log_in(store, email, password)
    except Unknown:
        return False
    finally:
        await store.aclose()
    return True


async def test_users_are_added_and_listed_and_get_roles_and_passwords(run: Run, url: str) -> None:
    added = run("add", "Ada@example.org", "--name", "Ada", "--password-stdin", text=f"{PASSWORD}\n")
    assert (added.returncode, added.stdout, added.stderr) == (0, "ada@example.org added as admin\n", "")
    assert run("add", "bob@example.org", "--no-password").stdout == "bob@example.org added as member\n"
    assert await logged_in(url, "ada@example.org", PASSWORD)

    assert run("role", "bob@example.org", "admin").stdout == "bob@example.org is an admin now\n"
    assert run("passwd", "bob@example.org", "--password-stdin", text="another horse\r\n").returncode == 0
    assert await logged_in(url, "bob@example.org", "another horse")

    listed = json.loads(run("list", "--json").stdout)
    assert [(user["email"], user["name"], user["role"]) for user in listed] == [
        ("ada@example.org", "Ada", "admin"),
        ("bob@example.org", "", "admin"),
    ]
    assert "password" not in json.dumps(listed)
    assert run("list").stdout.splitlines() == [
        "EMAIL            NAME  ROLE   STATUS",
        "ada@example.org  Ada   admin  active",
        "bob@example.org  -     admin  active",
    ]


@pytest.mark.parametrize("empty_database", ["sqlite"], indirect=True)
class TestMistakes:
    async def test_each_gets_a_message_and_no_traceback(self, run: Run) -> None:
        run("add", "ada@example.org", "--no-password")
        for arguments, text, message in (
            (("add", "ada@example.org", "--no-password"), "", "another user has the same email"),
            (("add", "nobody", "--no-password"), "", "must be an email address"),
            (("add", "bob@example.org", "--password-stdin"), "short\n", "must have 8 to 256 characters"),
            (("add", "bob@example.org"), PASSWORD, "no terminal to ask for the password"),
            (("passwd", "who@example.org", "--password-stdin"), PASSWORD, "there is no user who@example.org"),
            (("role", "ada@example.org", "member"), "", "this is the last admin"),
        ):
            done = run(*arguments, text=text)
            assert (done.returncode, done.stdout) == (1, "")
            assert message in done.stderr
            assert done.stderr.count("\n") == 1
            assert PASSWORD not in done.stderr

    async def test_a_password_is_no_argument(self, run: Run) -> None:
        # Every user of the machine can read the arguments of a process.
        assert run("add", "ada@example.org", PASSWORD).returncode == 2
        assert run("add", "ada@example.org", "--password", PASSWORD).returncode == 2

    async def test_at_a_terminal_it_is_asked_for_twice_and_not_shown(self, url: str, tmp_path: Path) -> None:
        ours, theirs = pty.openpty()
        environ = {**os.environ, "METAMCP_SECRET_KEYS": KEY, "DATABASE_URL": url}
        # A session leader's first terminal becomes its own, which is where a password is asked for.
        shell = 'exec "$0" users add ada@example.org <"$1" >"$1" 2>&1'
        process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
            ["sh", "-c", shell, METAMCP, os.ttyname(theirs)], start_new_session=True, cwd=tmp_path, env=environ
        )
        shown = b""
        try:
            for prompt in (b"Password: ", b"Repeat for confirmation: "):
                while not shown.endswith(prompt):
                    shown += os.read(ours, 1024)
                os.write(ours, f"{PASSWORD}\n".encode())
            while b"added as" not in shown:
                shown += os.read(ours, 1024)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
            # Not before: without anybody at the other end, ours can't be read.
            os.close(theirs)
            os.close(ours)
        assert PASSWORD.encode() not in shown
        assert await logged_in(url, "ada@example.org", PASSWORD)
