"""Runs the migrations on the connection that ``metamcp_asgi.store.schema`` hands over, in its transaction."""

from alembic import context

from metamcp_asgi.store.models import User

connection = context.config.attributes["connection"]
# SQLite alters a table by making it anew; its DDL is transactional, now that we begin the transactions.
context.configure(
    connection=connection,
    target_metadata=User.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
context.run_migrations()
