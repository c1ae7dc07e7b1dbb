"""MetaMCP's database as it is, read in one transaction that cannot change it.

Knows MetaMCP's tables, whose columns were stable over its migrations 0000 to 0013 and newer ones may add to. Knows
nothing of ours.
"""

from typing import Any, Final

from msgspec import Struct

from metamcp_asgi.errors import ConfigError

__all__ = ["MetaMCPDatabase", "read_database"]

_TABLES: Final = {
    "users": "created_at, id",
    "accounts": "user_id",
    "mcp_servers": "created_at, uuid",
    "oauth_sessions": "created_at, uuid",
    "tools": "uuid",
    "namespaces": "created_at, uuid",
    "namespace_server_mappings": "created_at, uuid",
    "namespace_tool_mappings": "created_at, uuid",
    "endpoints": "created_at, uuid",
    "api_keys": "created_at, uuid",
    "config": "id",
    "oauth_clients": "created_at, client_id",
}
_COUNTED: Final = ("sessions", "verifications", "oauth_authorization_codes", "oauth_access_tokens")
_OPTIONAL: Final = frozenset({"oauth_sessions", "api_keys", "config", "oauth_clients", *_COUNTED})
"""Tables that the first releases did not have yet."""


class MetaMCPDatabase(Struct):
    """What is in the database.

    Args:
        rows: For each table its rows as dictionaries, in the order in which they were made.
        counts: How many rows those tables have that nobody needs to take over.
    """

    rows: dict[str, list[dict[str, Any]]]
    counts: dict[str, int]


async def read_database(url: str) -> MetaMCPDatabase:
    """Read MetaMCP's database.

    Args:
        url: ``postgresql://user:password@host:port/name``, as in MetaMCP's ``DATABASE_URL``.

    Raises:
        ConfigError: It can't be reached, isn't MetaMCP's, or the driver is missing; the message has no password.
    """
    try:
        import psycopg
        from psycopg.rows import dict_row
        from psycopg.sql import SQL, Identifier
    except ImportError:
        raise ConfigError('needs the driver for PostgreSQL: pip install "metamcp-asgi[postgres]"') from None

    try:
        connection = await psycopg.AsyncConnection.connect(url, row_factory=dict_row, connect_timeout=10)
    except psycopg.Error as error:
        # Its second line may quote the server's log; the first names host and reason.
        raise ConfigError(f"MetaMCP's database can't be reached: {str(error).splitlines()[0]}") from None
    async with connection:
        # One state of all tables, and nothing can be changed, not even by mistake.
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        await connection.set_read_only(True)
        found = await connection.execute(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
        )
        tables = {row["table_name"] for row in await found.fetchall()}
        missing = sorted({*_TABLES, *_COUNTED} - _OPTIONAL - tables)
        if missing:
            raise ConfigError(f"is not a database of MetaMCP: it has no table {', '.join(missing)}")
        rows: dict[str, list[dict[str, Any]]] = {}
        for table, order in _TABLES.items():
            if table not in tables:
                rows[table] = []
                continue
            query = SQL("SELECT * FROM {} ORDER BY {}").format(
                Identifier(table), SQL(", ").join(Identifier(column) for column in order.split(", "))
            )
            rows[table] = await (await connection.execute(query)).fetchall()
        counts = {}
        for table in _COUNTED:
            if table in tables:
                counted = await connection.execute(SQL("SELECT count(*) AS n FROM {}").format(Identifier(table)))
                row = await counted.fetchone()
                counts[table] = row["n"] if row else 0
    return MetaMCPDatabase(rows, counts)
