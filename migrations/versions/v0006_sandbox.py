"""What the process of a server sees."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Go to this schema."""
    op.add_column("servers", sa.Column("sandbox", JSON, nullable=True))


def downgrade() -> None:
    """Go back to the one before."""
    # The program of that schema would start these servers with all rights.
    op.execute("UPDATE servers SET disabled = true WHERE sandbox IS NOT NULL")
    op.drop_column("servers", "sandbox")
