"""Executions, their events, what is searched, and the tally by which the store counts.

Runs on PostgreSQL alone: executions in SQLite files carry their schema in the files themselves.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

logger = logging.getLogger("kodosumi.schema")

# What is written all the time is cleaned after some thousand rows, not after a fifth of a large table.
STORAGE = {
    "executions": {
        "autovacuum_vacuum_scale_factor": "0.01",
        "autovacuum_vacuum_threshold": "2000",
        "autovacuum_analyze_scale_factor": "0.02",
    },
    "execution_details": {"fillfactor": "80", "autovacuum_vacuum_scale_factor": "0.05"},
    "execution_events": {"autovacuum_vacuum_insert_scale_factor": "0.05", "autovacuum_analyze_scale_factor": "0.02"},
    "execution_tally": {
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_threshold": "500",
        "autovacuum_vacuum_insert_scale_factor": "0",
        "autovacuum_vacuum_insert_threshold": "2000",
    },
}


def upgrade() -> None:
    """Makes the tables; there were none before."""
    _tables()
    _indexes()
    connection = op.get_bind()
    for table, parameters in STORAGE.items():
        listed = ", ".join(f"{name} = {value}" for name, value in parameters.items())
        connection.exec_driver_sql(f"ALTER TABLE {table} SET ({listed})")
    _index_search(connection)


def downgrade() -> None:
    """Removes the tables with all executions in them; the extension stays, others may use it."""
    for table in ("execution_tally", "execution_details", "executions", "execution_events"):
        op.drop_table(table)


def _tables() -> None:
    op.create_table(
        "execution_events",
        sa.Column("fid", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("timestamp", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="place in the execution's stream: 1, 2, 3, …"),
        sa.PrimaryKeyConstraint("fid", "seq", name="ix_execution_events_fid"),
    )
    op.create_table(
        "executions",
        sa.Column("fid", sa.Text(), primary_key=True),
        sa.Column("username", sa.Text(), nullable=False, comment="role id of the owner"),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="rises with every write"),
        sa.Column("seq", sa.BigInteger(), nullable=False, comment="place of the last event"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.Column("modified_at", sa.Double(), nullable=False, comment="the server's clock at the last write, seconds"),
        sa.Column("locks", sa.Text(), nullable=False, server_default="[]", comment="ids of open locks, a JSON array"),
        sa.Column("archived", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column(
            "purged",
            sa.Boolean(),
            nullable=False,
            server_default=sa.false(),
            comment="removed; keeps late events out",
        ),
        sa.Column("epoch", sa.BigInteger(), comment="place in the transport of the last batch stored"),
        sa.Column("offset", sa.BigInteger()),
    )
    op.create_table(
        "execution_details",
        sa.Column("fid", sa.Text(), primary_key=True),
        sa.Column("meta", sa.Text(), nullable=False, comment="what the launch said, a JSON object"),
        sa.Column("inputs", sa.Text(), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("final", sa.Text(), nullable=False, comment="searchable beginning of the result"),
        sa.Column("search", sa.Text(), nullable=False, comment="what a search looks into, case folded"),
    )
    op.create_table(
        "execution_tally",
        sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("listed", sa.BigInteger(), nullable=False, comment="how many executions more, or fewer, are listed"),
    )


def _indexes() -> None:
    op.create_index("ix_execution_events_username", "execution_events", ["username"])
    op.create_index("ix_execution_events_fid_kind", "execution_events", ["fid", "kind", "seq"])
    op.create_index("ix_executions_modified", "executions", ["modified_at"])
    op.create_index("ix_executions_username_modified", "executions", ["username", "modified_at"])
    listed, unpurged = sa.text("NOT archived"), sa.text("NOT purged")
    op.create_index("ix_executions_listed", "executions", ["fid"], postgresql_where=listed)
    op.create_index("ix_executions_username_listed", "executions", ["username", "fid"], postgresql_where=listed)
    op.create_index(
        "ix_executions_live", "executions", ["fid"], postgresql_where=sa.text("finished_at IS NULL AND NOT purged")
    )
    op.create_index("ix_executions_archived", "executions", ["modified_at"], postgresql_where=sa.text("archived"))
    op.create_index("ix_executions_finished", "executions", ["finished_at"], postgresql_where=unpurged)


def _index_search(connection: sa.Connection) -> None:
    """Makes searches by any part of a word fast, where the server has what this needs."""
    schema = _schema_of_trigrams(connection)
    if schema is not None:
        quoted = connection.dialect.identifier_preparer.quote(schema)
        connection.exec_driver_sql(
            f"CREATE INDEX ix_execution_details_search ON execution_details USING gin (search {quoted}.gin_trgm_ops)"
        )


def _schema_of_trigrams(connection: sa.Connection) -> str | None:
    try:
        # A savepoint: what the server refuses must not end the whole migration.
        with connection.begin_nested():
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except sa.exc.DBAPIError as exc:
        reason = str(exc.orig).rpartition(": ")[2].split("\n", 1)[0]
        logger.warning(
            "PostgreSQL's extension pg_trgm cannot be made (%s): searches in the timeline are slower", reason
        )
        return None
    found = connection.exec_driver_sql(
        "SELECT nspname FROM pg_extension JOIN pg_namespace ON pg_namespace.oid = extnamespace "
        "WHERE extname = 'pg_trgm'"
    )
    return str(found.scalar_one())
