"""Where roles and executions are kept: reachable, of this version's schema, writable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

from .. import schema
from ..config import Settings
from ..error import ConfigurationError, StoreUnavailable
from ..schema.databases import connected
from ..schema.requirement import COMMAND
from ..store import connect_store
from .clocks import compared
from .folders import for_sqlite
from .report import Finding, fine, wrong

_STANDING = (
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on', current_setting('server_version')"
)
_TIME = "SELECT extract(epoch FROM clock_timestamp())::float8"


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """Every database that these settings name, and the folder of executions where there's none for them."""
    for database in schema.databases(settings):
        if database.backend == "postgresql" and find_spec("asyncpg") is None:
            continue
        async for finding in _database(database):
            yield finding
    if settings.execution_database is None:
        for finding in await asyncio.to_thread(_folder, "executions", settings.exec_dir, "KODO_EXEC_DIR"):
            yield finding
    elif not settings.execution_database.startswith("postgresql"):
        # Says which there are, when it's none of them.
        await connect_store(settings).close()
        yield fine("execution", f"{settings.execution_database.partition(':')[0]}: kept in this process alone")


async def _database(database: schema.Database) -> AsyncIterator[Finding]:
    name, path = database.name, database.path
    if path is not None:
        for finding in await asyncio.to_thread(_folder, f"{name} folder", path.parent, database.variable):
            yield finding
    try:
        state = await schema.current(database)
        yield _schema(state)
        if database.backend == "postgresql":
            async for finding in _server(database):
                yield finding
    except (ConfigurationError, StoreUnavailable) as exc:
        yield wrong(
            name, str(exc), f"Start the database, or correct {database.variable}; `koco db --check` asks again."
        )


def _schema(state: schema.State) -> Finding:
    database, revision = state.database, state.revision
    where = f"{database.backend} {database.shown}"
    if state.standing is schema.Standing.CURRENT:
        return fine(database.name, f"{where}: revision {revision}")
    if state.standing is schema.Standing.ABSENT:
        return fine(database.name, f"{where}: not there yet, made at the first start")
    if state.standing is schema.Standing.AHEAD:
        remedy = f"Upgrade the package kodosumi, or name another database by {database.variable}."
        return wrong(database.name, f"{where}: revision {revision} is of a newer version", remedy)
    at = f"is at revision {revision}" if revision else "has no tables of this version"
    return wrong(database.name, f"{where}: {at}, needs {database.head}", f"Run `{COMMAND}`.")


async def _server(database: schema.Database) -> AsyncIterator[Finding]:
    async with connected(database) as connection:
        row = await connection.fetchrow(_STANDING)
        before_s = time.time()
        theirs_s = await connection.fetchval(_TIME)
        after_s = time.time()
    assert row is not None
    if row[0]:
        yield wrong(
            database.name, "takes no writes: it is a replica, or read-only", f"Name the primary by {database.variable}."
        )
    else:
        yield fine("PostgreSQL", str(row[1]))
    yield compared(float(theirs_s), before_s, after_s)


def _folder(subject: str, folder: Path, variable: str) -> list[Finding]:
    return list(for_sqlite(subject, folder, variable))
