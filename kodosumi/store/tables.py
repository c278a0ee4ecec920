"""The tables of the central execution database, as migrations make them and the PostgreSQL store uses them.

For migrations and their tests only: the store itself speaks SQL. ``executions`` is small and written with every
append; ``execution_details`` is large and written when a run starts, changes its state or ends. Every name and
column of ``execution_events`` up to ``message`` is published.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy import false as sql_false

metadata = MetaData()

execution_events = Table(
    "execution_events",
    metadata,
    Column("fid", Text, nullable=False),
    Column("username", Text, nullable=False),
    Column("timestamp", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("seq", BigInteger, nullable=False, comment="place in the execution's stream: 1, 2, 3, …"),
    # The published index on `fid` is the one that makes (fid, seq) unique: one index less to write.
    PrimaryKeyConstraint("fid", "seq", name="ix_execution_events_fid"),
    Index("ix_execution_events_username", "username"),
    Index("ix_execution_events_fid_kind", "fid", "kind", "seq"),
)

executions = Table(
    "executions",
    metadata,
    Column("fid", Text, primary_key=True),
    Column("username", Text, nullable=False, comment="role id of the owner"),
    Column("version", BigInteger, nullable=False, comment="rises with every write"),
    Column("seq", BigInteger, nullable=False, comment="place of the last event"),
    Column("state", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("changed_at", Double, nullable=False),
    Column("modified_at", Double, nullable=False, comment="the server's clock at the last write, seconds"),
    Column("locks", Text, nullable=False, server_default="[]", comment="ids of open locks, a JSON array"),
    Column("archived", Boolean, nullable=False, server_default=sql_false()),
    Column("purged", Boolean, nullable=False, server_default=sql_false(), comment="removed; keeps late events out"),
    Column("epoch", BigInteger, comment="place in the transport of the last batch stored"),
    Column("offset", BigInteger),
    Index("ix_executions_modified", "modified_at"),
    Index("ix_executions_username_modified", "username", "modified_at"),
    Index("ix_executions_listed", "fid", postgresql_where=text("NOT archived")),
    Index("ix_executions_username_listed", "username", "fid", postgresql_where=text("NOT archived")),
    Index("ix_executions_live", "fid", postgresql_where=text("finished_at IS NULL AND NOT purged")),
    Index("ix_executions_archived", "modified_at", postgresql_where=text("archived")),
    Index("ix_executions_finished", "finished_at", postgresql_where=text("NOT purged")),
)

execution_details = Table(
    "execution_details",
    metadata,
    Column("fid", Text, primary_key=True),
    Column("meta", Text, nullable=False, comment="what the launch said, a JSON object"),
    Column("inputs", Text, nullable=False),
    Column("error", Text),
    Column("final", Text, nullable=False, comment="searchable beginning of the result"),
    Column("search", Text, nullable=False, comment="what a search looks into, case folded"),
)

execution_notices = Table(
    "execution_notices",
    metadata,
    # What somebody outside is still to be told of: short rows, few at a time.
    Column("fid", Text, nullable=False),
    Column("seq", BigInteger, nullable=False, comment="place of the event"),
    Column("kind", Text, nullable=False, comment="lock, finished or error"),
    Column("due_at", Double, nullable=False, comment="the server's clock, seconds: nobody tries before"),
    Column("tries", BigInteger, nullable=False, server_default="0"),
    Column("tried_at", Double, comment="the server's clock at the first try"),
    PrimaryKeyConstraint("fid", "seq", name="pk_execution_notices"),
    Index("ix_execution_notices_due", "due_at"),
)

execution_launches = Table(
    "execution_launches",
    metadata,
    # What durable runs are started with; here before anything else of them.
    Column("fid", Text, nullable=False),
    Column("part", BigInteger, nullable=False, comment="0, 1, 2, …: what is large lies in several rows"),
    Column("username", Text, nullable=False, comment="role id of the owner"),
    Column("kept_at", Double, nullable=False, comment="the server's clock, seconds"),
    Column("launch", LargeBinary, nullable=False),
    PrimaryKeyConstraint("fid", "part", name="pk_execution_launches"),
    Index("ix_execution_launches_kept", "kept_at"),
)

execution_ended = Table(
    "execution_ended",
    metadata,
    # Written beside each other and added up, as the tally is. What is removed later stays counted.
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("state", Text, nullable=False, comment="finished or error"),
    Column("runs", BigInteger, nullable=False, comment="how many executions more have ended so"),
)

execution_tally = Table(
    "execution_tally",
    metadata,
    # Written beside each other and added up, so that no two writers ever wait for the same row.
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("username", Text, nullable=False),
    Column("listed", BigInteger, nullable=False, comment="how many executions more, or fewer, are listed"),
)
