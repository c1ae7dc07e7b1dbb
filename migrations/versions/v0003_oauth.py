"""Our own authorization server: grants, signing keys, whose a client is, and more of what an endpoint says of OAuth."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Go to this schema."""
    op.add_column("endpoints", sa.Column("oauth_options", JSON, nullable=True))
    with op.batch_alter_table("oauth_clients") as clients:
        clients.add_column(sa.Column("owner_id", sa.Uuid(), nullable=True))
        clients.add_column(sa.Column("used_at", sa.DateTime(timezone=True), nullable=True))
        clients.create_foreign_key(
            op.f("fk_oauth_clients_owner_id_users"), "users", ["owner_id"], ["id"], ondelete="CASCADE"
        )
    op.create_index(op.f("ix_oauth_clients_owner_id"), "oauth_clients", ["owner_id"], unique=False)
    op.create_table(
        "oauth_grants",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("audience", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("code_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("code_challenge", sa.String(length=128), nullable=False),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_oauth_grants_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_grants")),
        sa.UniqueConstraint("code_digest", name=op.f("uq_oauth_grants_code_digest")),
    )
    for column in ("user_id", "client_id", "expires_at"):
        op.create_index(op.f(f"ix_oauth_grants_{column}"), "oauth_grants", [column], unique=False)
    op.create_table(
        "oauth_keys",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("public", JSON, nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_oauth_keys")),
    )


def downgrade() -> None:
    """Go back to the schema before."""
    op.drop_table("oauth_keys")
    op.drop_table("oauth_grants")
    op.drop_index(op.f("ix_oauth_clients_owner_id"), table_name="oauth_clients")
    with op.batch_alter_table("oauth_clients") as clients:
        clients.drop_constraint(op.f("fk_oauth_clients_owner_id_users"), type_="foreignkey")
        clients.drop_column("used_at")
        clients.drop_column("owner_id")
    op.drop_column("endpoints", "oauth_options")
