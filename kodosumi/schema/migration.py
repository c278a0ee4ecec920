"""Brings a database's schema up or down: one transaction, by one process at a time, whoever else starts just then.

Alembic and SQLAlchemy are imported when there is something to do.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .. import postgres
from ..error import ConfigurationError, KodosumiError, StoreError
from .databases import BUSY_TIMEOUT_S, REVISIONS, Database, translated, unusable

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOCK_CLASS = 0x6B6F646F
"""First half of the advisory lock of a migration on PostgreSQL; the second tells the histories apart."""

_ALEMBIC = threading.Lock()
_PAUSE_S = 0.02
_PASSING = ("08", "25", "40", "53", "55", "57")
"""Classes of SQLSTATE that tell of the server's present state, not of the statement."""


async def upgrade(database: Database, revision: str = "head") -> None:
    """Brings a database up to a revision; does nothing when it is there already.

    Args:
        database: see :func:`~kodosumi.schema.databases`. revision: of its history; ``head`` is the newest.

    Raises:
        ConfigurationError: there is no such revision, the database is ahead of this version, or it can't be used.
        StoreUnavailable: it can't be reached now; nothing was changed. StoreError: it refuses; likewise.
    """
    await _migrate(database, "upgrade", revision)


async def downgrade(database: Database, revision: str) -> None:
    """Brings a database down to a revision. Whatever only newer ones can hold is lost; ``base`` removes everything.

    Args:
        database: see :func:`~kodosumi.schema.databases`. revision: of its history, or ``base``.

    Raises:
        ConfigurationError, StoreError: see :func:`upgrade`.
    """
    await _migrate(database, "downgrade", revision)


def script_folder() -> Path:
    """The folder of ``alembic.ini`` and ``migrations/``: this package's when installed, the checkout's otherwise."""
    package = Path(__file__).parent.parent
    return package if (package / "alembic.ini").exists() else package.parent


async def _migrate(database: Database, direction: str, revision: str) -> None:
    async with _alone():
        if database.backend == "postgresql":
            await _migrate_postgres(database, direction, revision)
        elif database.path is not None:
            await asyncio.to_thread(_migrate_sqlite, database, direction, revision)
        else:
            raise ConfigurationError(f"{database.variable}: only an SQLite file or a PostgreSQL database has a schema.")


@asynccontextmanager
async def _alone() -> AsyncGenerator[None]:
    """Alembic keeps what it works on in its modules: in one process there is one migration at a time."""
    while not _ALEMBIC.acquire(blocking=False):  # noqa: ASYNC110 - other threads and loops may hold it
        await asyncio.sleep(_PAUSE_S)
    try:
        yield
    finally:
        _ALEMBIC.release()


async def _migrate_postgres(database: Database, direction: str, revision: str) -> None:
    from sqlalchemy.pool import NullPool

    from .engine import postgres_engine

    engine = postgres_engine(
        database.url,
        database.variable,
        connect_timeout_s=database.connect_timeout_s,
        timeout_s=None,
        poolclass=NullPool,
        # Not the server's default: what the one before us committed must be seen once its lock is ours.
        isolation_level="READ COMMITTED",
    )
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_lock_postgres, database)
            await connection.run_sync(_run, database, direction, revision)
    except KodosumiError:
        raise
    except Exception as exc:
        raise _failed(database, exc) from exc
    finally:
        await engine.dispose()


def _failed(database: Database, exc: Exception) -> KodosumiError:
    error, state = translated(database, exc), postgres.sqlstate(exc)
    if isinstance(error, ConfigurationError) or state is None or state.startswith(_PASSING):
        return error
    # A statement that this database refuses: doing it again would end the same way.
    return StoreError(f"{error} Nothing was changed.")


def _lock_postgres(connection: Connection, database: Database) -> None:
    # In the migration's own transaction, so that a pooler can't part lock and work. Waiting for another migration may
    # take long; waiting for a table that somebody else holds would stop everybody who comes after us.
    connection.exec_driver_sql(
        "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)"
    )
    number = list(REVISIONS).index(database.name)
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {number})")
    connection.exec_driver_sql(f"SELECT set_config('lock_timeout', '{database.timeout_s * 1000:.0f}ms', true)")


def _migrate_sqlite(database: Database, direction: str, revision: str) -> None:
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError

    path = database.path
    assert path is not None

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_S)

    engine = create_engine("sqlite://", creator=connect, hide_parameters=True)
    # Python's driver would begin too late for CREATE and ALTER. IMMEDIATE is the lock among processes.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with engine.begin() as connection:
            _run(connection, database, direction, revision)
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise StoreError(f"{database.shown} would refer to rows that are not there; nothing was changed.")
    except (DBAPIError, OSError, sqlite3.Error) as exc:
        cause = exc.orig if isinstance(exc, DBAPIError) else exc
        raise unusable(database, cause if isinstance(cause, Exception) else exc) from exc
    finally:
        engine.dispose()


def _run(connection: Connection, database: Database, direction: str, revision: str) -> None:
    """Migrates on a connection that has begun a transaction and holds the lock."""
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.util import CommandError

    known = REVISIONS[database.name]
    context = MigrationContext.configure(connection, opts={"version_table": database.version_table})
    for found in context.get_current_heads():
        if found not in known:
            raise ConfigurationError(
                f"{database.variable}: the {database.name} database {database.shown} is at revision {found}, which "
                "this version of kodosumi does not know: upgrade the package kodosumi first."
            )
    config = Config(script_folder() / "alembic.ini", ini_section=database.name)
    config.attributes["connection"] = connection
    run = command.upgrade if direction == "upgrade" else command.downgrade
    try:
        run(config, revision)
    except CommandError as exc:
        listed = ", ".join(("base", *known))
        raise ConfigurationError(
            f"The {database.name} database has no revision {revision!r}; it has {listed}."
        ) from exc
