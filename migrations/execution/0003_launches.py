"""What durable runs are started with (`KODO_EXECUTION_MODE=temporal`)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table; no run that is stored already needs it."""
    op.create_table(
        "execution_launches",
        sa.Column("fid", sa.Text(), nullable=False),
        sa.Column("part", sa.BigInteger(), nullable=False, comment="0, 1, 2, …: what is large lies in several rows"),
        sa.Column("username", sa.Text(), nullable=False, comment="role id of the owner"),
        sa.Column("kept_at", sa.Double(), nullable=False, comment="the server's clock, seconds"),
        sa.Column("launch", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("fid", "part", name="pk_execution_launches"),
    )
    op.create_index("ix_execution_launches_kept", "execution_launches", ["kept_at"])


def downgrade() -> None:
    """Removes the table: a durable run that is still to begin an attempt can't."""
    op.drop_table("execution_launches")
