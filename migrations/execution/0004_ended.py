"""How many executions have ended, kept beside them, so that figures (`/metrics`) need not count them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table and counts once what has ended already."""
    op.create_table(
        "execution_ended",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("state", sa.Text(), nullable=False, comment="finished or error"),
        sa.Column("runs", sa.BigInteger(), nullable=False, comment="how many executions more have ended so"),
    )
    connection = op.get_bind()
    connection.exec_driver_sql(
        "INSERT INTO execution_ended (state, runs) SELECT state, count(*) FROM executions "
        "WHERE finished_at IS NOT NULL AND NOT purged GROUP BY state"
    )
    # Rows live until they are added up: without this, what is left of them would be read by every look.
    connection.exec_driver_sql(
        "ALTER TABLE execution_ended SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, "
        "autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 2000)"
    )


def downgrade() -> None:
    """Removes the table: what has ended and is removed since is known no more."""
    op.drop_table("execution_ended")
