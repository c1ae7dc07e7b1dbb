"""The key that an API key was before it was rotated."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go to this schema."""
    op.add_column("api_keys", sa.Column("previous_digest", sa.LargeBinary(length=32), nullable=True))
    op.add_column("api_keys", sa.Column("previous_until", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_api_keys_previous_digest"), "api_keys", ["previous_digest"], unique=False)


def downgrade() -> None:
    """Go back to the one before; keys from before a rotation are good no longer."""
    op.drop_index(op.f("ix_api_keys_previous_digest"), table_name="api_keys")
    op.drop_column("api_keys", "previous_until")
    op.drop_column("api_keys", "previous_digest")
