"""Runs the migrations of one history on a connection that is given: `koco db` opens it, locks, commits.

Two histories, each with its own version table, as both databases may be one: `admin` runs on PostgreSQL and SQLite,
`execution` on PostgreSQL alone (executions in SQLite files carry their schema in the files themselves). Nothing here
and in the migrations imports kodosumi: what a migration did once must not change with the code.
"""

from __future__ import annotations

from alembic import context
from alembic.util import CommandError

connection = context.config.attributes.get("connection")
if connection is None:
    raise CommandError("Run migrations by `koco db`, which knows the databases and locks them.")

context.configure(
    connection=connection,
    version_table=f"alembic_version_{context.config.config_ini_section}",
    # SQLite alters a table by making it anew.
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
