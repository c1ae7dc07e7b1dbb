"""OAuth clients that authenticate with a key: which grants are for such a one, and the proofs that were used."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Go to this schema."""
    op.add_column("oauth_grants", sa.Column("keyed", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "oauth_proofs",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_oauth_proofs")),
    )


def downgrade() -> None:
    """Go back to the one before."""
    op.drop_table("oauth_proofs")
    # To the program of that schema these clients, and what was granted to them, would need no key.
    op.execute("DELETE FROM oauth_grants WHERE keyed")
    clients = sa.table("oauth_clients", sa.column("attributes", JSON))
    method = clients.c.attributes["token_endpoint_auth_method"].as_string()
    op.execute(sa.delete(clients).where(method == "private_key_jwt"))
    op.drop_column("oauth_grants", "keyed")
