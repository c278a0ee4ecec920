"""Roles, their sessions and the registered sources."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes what is absent: a database from before there were migrations has these tables, and keeps its rows."""
    op.create_table(
        "roles",
        sa.Column("id", sa.Uuid(as_uuid=False), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False, unique=True),
        sa.Column("email", sa.String(320), nullable=False, unique=True),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("password", sa.String(100), nullable=False),
        sa.Column("operator", sa.Boolean(), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("role_id", sa.Uuid(as_uuid=False), sa.ForeignKey("roles.id", ondelete="CASCADE"), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_sessions_role_id", "sessions", ["role_id"], if_not_exists=True)
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], if_not_exists=True)
    op.create_table(
        "sources",
        sa.Column("url", sa.String(2048), primary_key=True),
        sa.Column("added_at", sa.Float(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("fetched_at", sa.Float()),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("apps", sa.Text(), nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_sources_due_at", "sources", ["due_at"], if_not_exists=True)


def downgrade() -> None:
    """Removes the tables with all that is in them."""
    for table in ("sources", "sessions", "roles"):
        op.drop_table(table)
