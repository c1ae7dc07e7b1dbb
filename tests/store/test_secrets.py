"""Secrets at rest: nobody reads them without the key, they open only where they belong, and keys rotate."""

import logging
import sqlite3
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store.errors import SecretsError
from metamcp_asgi.store.keys import KeyFile, describe_key, new_key
from metamcp_asgi.store.load import Loader
from metamcp_asgi.store.models import Credential, Server
from metamcp_asgi.store.policy import COMMAND_LINE
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.scope import read_scope
from metamcp_asgi.store.secrets import Context, ServerSecrets, Vault
from metamcp_asgi.store.services import servers
from metamcp_asgi.store.services.inputs import NewServer, ServerChanges
from tests.store.rows import SECRETS, TOKENS, one_of_each

OLD, NEW = b"o" * 32, b"n" * 32
WEB = "https://web.example/mcp?api_key=url-s3cret"
ARGS = ["--token", "arg-s3cret", "plain"]
PLACE = Context("servers", "1", "secrets")


def test_a_value_opens_only_where_it_was_sealed_for() -> None:
    vault = Vault(lambda: [OLD])
    sealed = vault.seal({"a": "b"}, PLACE)
    assert vault.open(sealed, PLACE) == {"a": "b"}
    for other in (
        Context("credentials", "1", "secrets"),
        Context("servers", "2", "secrets"),
        Context("servers", "1", "x"),
    ):
        with pytest.raises(SecretsError, match="changed, or moved"):
            vault.open(sealed, other)


@pytest.mark.parametrize("place", [0, 1, 5, 20, -1])
def test_a_value_that_was_changed_does_not_open(place: int) -> None:
    vault = Vault(lambda: [OLD])
    sealed = bytearray(vault.seal("value", PLACE))
    sealed[place] ^= 1
    with pytest.raises(SecretsError):
        vault.open(bytes(sealed), PLACE)
    with pytest.raises(SecretsError):
        vault.open(b"", PLACE)


def test_equal_values_look_different() -> None:
    vault = Vault(lambda: [OLD])
    assert vault.seal("value", PLACE) != vault.seal("value", PLACE)


def test_a_process_learns_of_keys_that_another_one_made() -> None:
    ring = [OLD]
    running = Vault(lambda: ring)
    ring.insert(0, NEW)
    sealed = Vault(lambda: ring).seal("value", PLACE)
    assert running.open(sealed, PLACE) == "value"


def test_a_missing_key_is_named_without_what_it_seals() -> None:
    sealed = Vault(lambda: [OLD]).seal("clear-7f3a", PLACE)
    with pytest.raises(SecretsError, match="METAMCP_SECRET_KEYS") as caught:
        Vault(lambda: [NEW]).open(sealed, PLACE)
    assert "7f3a" not in str(caught.value)


def at_rest(url: str, folder: Path) -> bytes:
    """Returns all that a database has on its disk, or says of its tables."""
    if url.startswith("sqlite"):
        return b"".join(path.read_bytes() for path in folder.iterdir())
    with psycopg.connect(url) as connection:
        tables = [row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname='public'")]
        return b"".join(repr(connection.execute(f'SELECT * FROM "{t}"').fetchall()).encode() for t in tables)


async def test_no_byte_of_a_secret_is_in_the_database(
    database: Callable[[], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = database()
    store = await Store.open(url, environ={}, secret_keys=(OLD,))
    ids = await one_of_each(store)
    async with store.read() as tx:
        server, token = await tx.get(Server, ids["Server"]), await tx.get(Credential, ids["Credential"])
        shown = repr((server, token, tx.secrets(server), store, tx))
    await store.aclose()
    raw = at_rest(url, tmp_path)
    assert b"ada@example.com" in raw  # The search itself finds what is there.
    for clear in (*SECRETS.env.values(), *SECRETS.headers.values(), SECRETS.bearer_token, *TOKENS.values()):
        assert clear is not None
        assert clear.encode() not in raw
        assert clear not in shown
        assert clear not in caplog.text
    assert b"sk_mt_laptop" not in raw


async def test_a_secret_in_a_url_or_an_argument_is_sealed_as_well(database: Callable[[], str], tmp_path: Path) -> None:
    url = database()
    store = await Store.open(url, environ={}, secret_keys=(OLD,))
    async with store.write(SYSTEM) as tx:
        web = await servers.create(tx, COMMAND_LINE, NewServer(name="web", owner_id=None, url=WEB))
        tool = await servers.create(tx, COMMAND_LINE, NewServer(name="tool", owner_id=None, command="run", args=ARGS))
        assert (web.url, tool.args) == ("https://web.example/mcp?api_key=***", ["--token", "***", "plain"])
    async with store.write(SYSTEM) as tx:
        await servers.update(tx, COMMAND_LINE, web.id, ServerChanges(description="It knows its own URL."))
    async with store.read() as tx:
        public = (await read_scope(tx, None)).snapshot
        loader = Loader()
        await loader.refresh(tx)
        compiled = loader.compiler.compile(datetime.now(UTC))[0]
    await store.aclose()
    raw = at_rest(url, tmp_path)
    assert b"web.example" in raw
    assert b"url-s3cret" not in raw
    assert b"arg-s3cret" not in raw
    for known in (public.servers, compiled.servers):
        assert known["web"].url == WEB
        assert known["tool"].args == tuple(ARGS)


async def test_rotation_seals_what_an_earlier_version_left_in_the_columns(database: Callable[[], str]) -> None:
    store = await Store.open(database(), environ={}, secret_keys=(OLD,))
    async with store.write(SYSTEM) as tx:
        row = await tx.add(
            Server(name="web", type="streamable_http", url=WEB), secrets=ServerSecrets(headers={"A": "b"})
        )
    assert await store.rotate(SYSTEM) == 1
    assert await store.rotate(SYSTEM) == 0
    async with store.read() as tx:
        row = await tx.get(Server, row.id)
        assert row.url == "https://web.example/mcp?api_key=***"
        assert tx.secrets(row) == ServerSecrets(headers={"A": "b"}, url=WEB)
    await store.aclose()


@pytest.mark.parametrize("arg", ["user=ghp_0123456789abcdef0123", "https://u:pa&token=x&rest@h/mcp", "--pin=1234"])
async def test_rotation_keeps_what_looks_like_another_secret_once_it_is_masked(
    database: Callable[[], str], arg: str
) -> None:
    store = await Store.open(database(), environ={}, secret_keys=(OLD,))
    args = ["--auth", arg, "--token", "t"]
    async with store.write(SYSTEM) as tx:
        made = await servers.create(tx, COMMAND_LINE, NewServer(name="tool", owner_id=None, command="run", args=args))
    await store.rotate(SYSTEM)
    async with store.read() as tx:
        assert tx.secrets(await tx.get(Server, made.id)).args == tuple(args)
    await store.aclose()


async def test_rotation_seals_everything_anew_and_the_old_key_is_needed_no_more(database: Callable[[], str]) -> None:
    url = database()
    store = await Store.open(url, environ={}, secret_keys=(OLD,))
    ids = await one_of_each(store)
    await store.aclose()
    store = await Store.open(url, environ={}, secret_keys=(NEW, OLD))
    assert await store.rotate(SYSTEM) == 2
    assert await store.rotate(SYSTEM) == 0
    await store.aclose()
    store = await Store.open(url, environ={}, secret_keys=(NEW,))
    async with store.read() as tx:
        assert tx.secrets(await tx.get(Server, ids["Server"])) == SECRETS
        assert tx.credential(await tx.get(Credential, ids["Credential"])) == TOKENS
    await store.aclose()


async def test_rotation_without_the_old_key_changes_nothing(database: Callable[[], str]) -> None:
    url = database()
    store = await Store.open(url, environ={}, secret_keys=(OLD,))
    ids = await one_of_each(store)
    wrong = await Store.open(url, environ={}, secret_keys=(NEW,))
    with pytest.raises(SecretsError):
        await wrong.rotate(SYSTEM)
    await wrong.aclose()
    async with store.read() as tx:
        assert tx.secrets(await tx.get(Server, ids["Server"])) == SECRETS
    await store.aclose()


async def test_the_key_file_is_made_beside_sqlite_and_rotates_under_a_running_process(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/data/metamcp.db"
    one = await Store.open(url, environ={})
    file = tmp_path / "data" / "metamcp.keys"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data" / "metamcp.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    ids = await one_of_each(one)
    other = await Store.open(url, environ={})
    before = file.read_text()
    assert await other.rotate(SYSTEM) == 2
    assert file.read_text().splitlines()[1:] == before.splitlines()
    async with one.read() as tx:
        assert tx.secrets(await tx.get(Server, ids["Server"])) == SECRETS
    assert await other.rotate(SYSTEM) == 2
    assert len(file.read_text().splitlines()) == 2
    async with one.write(SYSTEM) as tx:
        server = await tx.get(Server, ids["Server"])
        tx.set_secrets(server, ServerSecrets(bearer_token="another"))
    async with other.read() as tx:
        assert tx.secrets(await tx.get(Server, ids["Server"])).bearer_token == "another"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []
    await one.aclose()
    await other.aclose()


async def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "metamcp.keys")
    file.ensure()
    file.path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        await Store.open(f"sqlite:///{tmp_path}/metamcp.db", environ={})
    file.path.chmod(0o600)
    file.path.write_text("not a key\n")
    with pytest.raises(ConfigError, match="hexadecimal"):
        await Store.open(f"sqlite:///{tmp_path}/metamcp.db", environ={})


async def test_postgresql_without_a_key_is_refused(postgres_url: Callable[[], str]) -> None:
    with pytest.raises(ConfigError, match="METAMCP_SECRET_KEYS"):
        await Store.open(postgres_url(), environ={})


def test_a_new_api_key_has_metamcps_form_and_only_its_beginning_is_kept() -> None:
    text, digest, prefix = new_key()
    assert len(text) == 70
    assert text.startswith("sk_mt_")
    assert (digest, prefix) == describe_key(text)
    assert (len(digest), prefix) == (32, text[:10])
    assert new_key()[0] != text
    assert describe_key("0123456789abcdef")[1] == "0123"


def test_sqlite_is_new_enough_for_what_the_store_uses() -> None:
    assert sqlite3.sqlite_version_info >= (3, 35)
