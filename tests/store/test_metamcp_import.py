"""A running MetaMCP's database is copied: everything that has a place here, and a word about everything else."""

import json
import os
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from metamcp_asgi.config.snapshot import digest_of
from metamcp_asgi.errors import ConfigError
from metamcp_asgi.store.metamcp_import import copy
from metamcp_asgi.store.metamcp_rows import Copied
from metamcp_asgi.store.metamcp_source import read_database
from metamcp_asgi.store.models import (
    ApiKey,
    Credential,
    Endpoint,
    Membership,
    Namespace,
    OAuthClient,
    Server,
    Setting,
    ToolSetting,
    User,
)
from metamcp_asgi.store.repository import SYSTEM, Store
from metamcp_asgi.store.scope import read_scope
from tests.places import BIN

HERE = Path(__file__).parent
SQL = [(HERE / name).read_text(encoding="utf-8") for name in ("metamcp_schema.sql", "metamcp_rows.sql")]


def number(group: int, row: int) -> uuid.UUID:
    return uuid.UUID(f"{group}0000000-0000-0000-0000-00000000000{row}")


@pytest.fixture
def metamcp(postgres_url: Callable[[], str]) -> str:
    """The URL of a MetaMCP database with a row of every kind."""
    url = postgres_url()
    with psycopg.connect(url) as connection:
        for statements in SQL:
            connection.execute(statements)
    return url


async def copied(store: Store, url: str, **options: Any) -> Copied:
    async with store.write(SYSTEM) as tx:
        return await copy(tx, await read_database(url), environ={"TIME_TOKEN": "resolved"}, **options)


def dump(url: str) -> dict[str, Any]:
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {name: sorted(map(str, connection.execute(f"SELECT * FROM {name}").fetchall())) for (name,) in tables}


async def test_users_keep_their_passwords_and_the_first_is_the_admin(store: Store, metamcp: str) -> None:
    await copied(store, metamcp)
    async with store.read() as tx:
        ann, bob = await tx.list(User)
    assert (ann.email, ann.name, ann.role) == ("ann@example.com", "Ann", "admin")
    assert ann.password_hash == "00112233445566778899aabbccddeeff:" + "ab" * 64
    assert (bob.email, bob.role, bob.password_hash) == ("bob@example.com", "member", None)


async def test_servers_keep_their_ids_and_their_secrets(store: Store, metamcp: str) -> None:
    await copied(store, metamcp)
    async with store.read() as tx:
        time, remote = await tx.get(Server, number(1, 1)), await tx.get(Server, number(1, 2))
        ann = await tx.find(User, email="ann@example.com")
        secrets, of_remote = tx.secrets(time), tx.secrets(remote)
    assert ann is not None
    assert (time.name, time.type, time.command, time.owner_id) == ("time", "stdio", "uvx", None)
    assert time.args == ["mcp-server-time", "two words", "$HOME"]
    assert time.description == "The time"
    # What MetaMCP takes from its environment is put in; what isn't set there is a plain text there, too.
    assert secrets.env == {"TOKEN": "resolved", "GONE": "${GONE}", "LITERAL": "a${B}"}
    assert (remote.type, remote.url, remote.owner_id) == ("streamable_http", "https://h.example/mcp", ann.id)
    assert of_remote.bearer_token == "bearer-secret"
    assert of_remote.headers == {"X-Team": "header-secret"}


async def test_rows_that_never_worked_are_mended_or_named(store: Store, metamcp: str) -> None:
    remarks = (await copied(store, metamcp)).remarks
    async with store.read() as tx:
        servers = {server.id: server for server in await tx.list(Server)}
    assert servers[number(1, 4)].type == "streamable_http"
    assert servers[number(1, 5)].name == "time-2"
    assert servers[number(1, 6)].name == "a_b"
    assert number(1, 7) not in servers
    assert [remark.kind for remark in remarks if remark.what == "server broken"] == ["lost"]


async def test_tokens_for_servers_are_kept_sealed(store: Store, metamcp: str) -> None:
    await copied(store, metamcp)
    async with store.read() as tx:
        (credential,) = await tx.list(Credential)
        opened = tx.credential(credential)
    assert credential.server_id == number(1, 2)
    assert opened["tokens"] == {"access_token": "at", "refresh_token": "rt"}
    assert opened["client_information"] == {"client_id": "c"}
    assert b"refresh_token" not in (credential.sealed or b"")


async def test_namespaces_keep_members_switches_and_overrides(store: Store, metamcp: str) -> None:
    await copied(store, metamcp)
    async with store.read() as tx:
        names = [(row.id, row.name) for row in await tx.list(Namespace)]
        members = await tx.list(Membership, Membership.namespace_id == number(4, 1))
        tools = {row.tool: row for row in await tx.list(ToolSetting)}
    assert names == [(number(4, 2), "mine"), (number(4, 1), "tools"), (number(4, 3), "tools-2")]
    assert [(row.server_id, row.active) for row in members] == [(number(1, 3), False), (number(1, 1), True)]
    assert tools.keys() == {"now", "convert", "third"}
    now = tools["now"]
    assert (now.enabled, now.name, now.title, now.description) == (True, "clock", "Clock", "What time it is")
    assert now.annotations == {"readOnlyHint": True}
    assert not tools["convert"].enabled
    # MetaMCP would have sent calls of one to the other.
    assert tools["third"].name is None


async def test_endpoints_keep_their_access_and_rates(store: Store, metamcp: str) -> None:
    await copied(store, metamcp)
    async with store.read() as tx:
        public, mine = await tx.get(Endpoint, number(7, 1)), await tx.get(Endpoint, number(7, 2))
        opened = await tx.get(Endpoint, number(7, 3))
    assert (public.name, public.description, public.namespace_id) == ("public", "For all", number(4, 1))
    assert (public.api_key_auth, public.oauth, public.query_param_auth) == (True, True, True)
    assert (public.max_rate, public.max_rate_seconds, public.client_max_rate, public.client_max_rate_seconds) == (
        10, 60, 5, 30)  # fmt: skip
    assert (public.client_max_rate_strategy, public.client_max_rate_header) == ("header", "x-client")
    assert mine.max_rate is None  # its numbers were switched off
    assert (opened.api_key_auth, opened.client_max_rate_strategy) == (False, "ip")


async def test_keys_keep_working_and_are_no_longer_readable(store: Store, metamcp: str) -> None:
    await copied(store, metamcp)
    async with store.read() as tx:
        keys = {row.name: row for row in await tx.list(ApiKey)}
        ann = await tx.find(User, email="ann@example.com")
    assert ann is not None
    assert {name: (key.digest, key.disabled, key.owner_id) for name, key in keys.items()} == {
        "Ann": (digest_of("sk_mt_" + "c" * 64), False, ann.id),
        "Everyone": (digest_of("sk_mt_" + "a" * 64), False, None),
        "Everyone 2": (digest_of("sk_mt_" + "b" * 64), True, None),
    }


async def test_oauth_clients_are_known_here(store: Store, metamcp: str) -> None:
    await copied(store, metamcp)
    async with store.read() as tx:
        cursor = await tx.find(OAuthClient, client_id="mcp_client_1")
        inspector = await tx.find(OAuthClient, client_id="mcp_client_2")
    assert cursor is not None
    assert inspector is not None
    assert (cursor.name, cursor.redirect_uris) == ("Cursor", ["http://127.0.0.1:1234/callback"])
    assert cursor.secret_digest == digest_of("mcp_secret_1")
    assert cursor.attributes["client_uri"] == "https://c.example"
    assert cursor.attributes["scope"] == "admin"
    assert inspector.secret_digest is None


async def test_what_was_not_copied_is_told_without_secrets(store: Store, metamcp: str) -> None:
    remarks = (await copied(store, metamcp)).remarks
    lost = {remark.what for remark in remarks if remark.kind == "lost"}
    assert lost >= {
        "setting SESSION_LIFETIME",
        "sessions",
        "verifications",
        "oauth_authorization_codes",
        "oauth_access_tokens",
        "tool third",
        "user bob@example.com",
    }
    told = str(remarks)
    assert not any(
        word in told for word in ("sk_mt_", "bearer-secret", "header-secret", "resolved", "mcp_secret", "abab")
    )


async def test_settings_are_copied_where_there_are_the_same_here(store: Store, metamcp: str) -> None:
    remarks = {remark.what: remark for remark in (await copied(store, metamcp)).remarks}
    async with store.read() as tx:
        values = {row.key: row.value for row in await tx.list(Setting)}
        assert {row.timeout for row in await tx.list(Server)} == {90.0}
    assert values == {"allowSignup": False, "allowSsoSignup": True}
    told = {name.removeprefix("setting "): remark.kind for name, remark in remarks.items() if "setting" in name}
    assert told == {
        "DISABLE_SIGNUP": "changed",
        "DISABLE_SSO_SIGNUP": "changed",
        "MCP_TIMEOUT": "changed",
        "MCP_MAX_ATTEMPTS": "lost",
        "SESSION_LIFETIME": "lost",
        "OF_THE_FUTURE": "lost",
    }
    assert "now allowSignup: false" in remarks["setting DISABLE_SIGNUP"].text
    assert "there is none like it" in remarks["setting OF_THE_FUTURE"].text
    with psycopg.connect(metamcp) as connection:
        connection.execute("UPDATE config SET value = 'false' WHERE id = 'DISABLE_SIGNUP'")
    again = {remark.what: remark for remark in (await copied(store, metamcp)).remarks}
    assert "is set here already" in again["setting DISABLE_SIGNUP"].text
    await copied(store, metamcp, update=True)
    async with store.read() as tx:
        assert (await tx.get(Setting, "allowSignup")).value is True


async def test_names_that_are_too_long_here_are_cut_or_named(store: Store, metamcp: str) -> None:
    with psycopg.connect(metamcp) as connection:
        for table in ("mcp_servers", "namespaces", "api_keys", "endpoints"):
            connection.execute(f"UPDATE {table} SET name = name || repeat('x', 200)")  # type: ignore[call-overload]
    done = await copied(store, metamcp)
    async with store.read() as tx:
        for kind in (Server, Namespace, ApiKey):
            assert {len(row.name) <= 100 for row in await tx.list(kind)} == {True}
        assert not await tx.list(Endpoint)
    assert any("longer than 100 characters" in remark.text for remark in done.remarks)


async def test_the_source_is_not_changed(store: Store, metamcp: str) -> None:
    before = dump(metamcp)
    await copied(store, metamcp)
    assert dump(metamcp) == before


async def test_the_source_cannot_be_changed(metamcp: str) -> None:
    # A trigger on reading doesn't exist, so a function that writes stands in for a mistake of ours.
    with psycopg.connect(metamcp) as connection:
        connection.execute("ALTER TABLE config RENAME TO config_rows")
        connection.execute(
            "CREATE FUNCTION leave_a_trace() RETURNS text LANGUAGE sql AS "
            "$$ INSERT INTO config_rows (id, value) VALUES ('trace', '') RETURNING id $$"
        )
        connection.execute("CREATE VIEW config AS SELECT leave_a_trace() AS id, '' AS value")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await read_database(metamcp)


async def test_a_second_copy_changes_nothing(store: Store, metamcp: str) -> None:
    first = await copied(store, metamcp)
    revision = await store.revision()
    second = await copied(store, metamcp)
    assert second.added == second.updated == {}
    assert second.present == first.added
    assert await store.revision() == revision


async def test_a_later_copy_adds_what_is_new_and_leaves_what_was_edited(store: Store, metamcp: str) -> None:
    await copied(store, metamcp)
    async with store.write(SYSTEM) as tx:
        (await tx.get(Namespace, number(4, 1))).description = "edited here"
    with psycopg.connect(metamcp) as connection:
        connection.execute("UPDATE namespaces SET description = 'edited there'")
        connection.execute("INSERT INTO namespaces (name) VALUES ('new')")
    done = await copied(store, metamcp)
    assert done.added == {"namespace": 1}
    async with store.read() as tx:
        assert (await tx.get(Namespace, number(4, 1))).description == "edited here"


async def test_an_update_makes_it_what_metamcp_has(store: Store, metamcp: str) -> None:
    await copied(store, metamcp)
    with psycopg.connect(metamcp) as connection:
        connection.execute("UPDATE mcp_servers SET bearer_token = 'fresh' WHERE name = 'remote'")
        connection.execute("UPDATE namespace_tool_mappings SET status = 'ACTIVE', override_name = 'x'")
    done = await copied(store, metamcp, update=True)
    assert done.updated == {"server": 1, "tool_setting": 2}
    async with store.read() as tx:
        assert tx.secrets(await tx.get(Server, number(1, 2))).bearer_token == "fresh"


async def test_things_of_a_user_who_is_here_already_become_theirs(store: Store, metamcp: str) -> None:
    async with store.write(SYSTEM) as tx:
        own = await tx.add(User(email="ann@example.com", password_hash="$argon2id$own", role="admin"))
    await copied(store, metamcp)
    async with store.read() as tx:
        ann = await tx.get(User, own.id)
        assert ann.password_hash == "$argon2id$own"
        assert (await tx.get(Server, number(1, 2))).owner_id == own.id


async def test_a_copy_can_be_exported(store: Store, metamcp: str) -> None:
    await copied(store, metamcp)
    async with store.read() as tx:
        scope = await read_scope(tx, None)
    assert scope.snapshot.namespaces["tools"].servers == ("time",)
    assert "namespace tools: server old is a member that is switched off" in scope.unsaid


async def test_another_database_is_refused(postgres_url: Callable[[], str]) -> None:
    with pytest.raises(ConfigError, match="is not a database of MetaMCP"):
        await read_database(postgres_url())
    with pytest.raises(ConfigError, match="can't be reached") as caught:
        await read_database("postgresql://me:pass-word@127.0.0.1:1/x")
    assert "pass-word" not in str(caught.value)


def test_the_command_prints_what_it_did(metamcp: str, tmp_path: Path) -> None:
    def run(*options: str) -> str:
        environ = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path}/m.db"}
        command = [str(BIN / "metamcp"), "import-metamcp", metamcp, *options]
        return subprocess.run(
            command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    assert "Nothing was changed." in run("--dry-run")
    lines = run().splitlines()
    assert "~ server a__b: is now called a_b" in lines
    assert [line.split() for line in lines if line.startswith("api key")] == [["api", "key", "3", "0", "0"]]
    assert json.loads(run("--json"))["present"]["server"] == 6
