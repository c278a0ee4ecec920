"""What somebody outside is to be told of (`KODO_WEBHOOK_URL`), noted with the events."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table; nothing of what is stored already is told of."""
    op.create_table(
        "execution_notices",
        sa.Column("fid", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="place of the event"),
        sa.Column("kind", sa.Text(), nullable=False, comment="lock, finished or error"),
        sa.Column("due_at", sa.Double(), nullable=False, comment="the server's clock, seconds: nobody tries before"),
        sa.Column("tries", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("tried_at", sa.Double(), comment="the server's clock at the first try"),
        sa.PrimaryKeyConstraint("fid", "seq", name="pk_execution_notices"),
    )
    op.create_index("ix_execution_notices_due", "execution_notices", ["due_at"])
    # Rows live for moments: without this, what is left of them would be read by every look for the next.
    op.get_bind().exec_driver_sql(
        "ALTER TABLE execution_notices SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500)"
    )


def downgrade() -> None:
    """Removes the table: what is still to be told is told to nobody."""
    op.drop_table("execution_notices")
