"""The databases of an installation, and at which revision each one is. Knows the revisions without Alembic."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from .. import postgres
from ..config import Settings
from ..error import ConfigurationError, StoreUnavailable

REVISIONS: dict[str, tuple[str, ...]] = {"admin": ("0001", "0002"), "execution": ("0001", "0002", "0003", "0004")}
"""Database -> its revisions, oldest first; this version needs the last one. A test compares with the scripts."""

BUSY_TIMEOUT_S = 60.0
"""Seconds to wait for another process' migration on SQLite."""

_SQLITE = re.compile(r"sqlite(?:\+\w+)?:///(?P<path>[^?]*).*")


class Standing(StrEnum):
    """How a database's schema compares with what this version needs."""

    CURRENT = "current"
    BEHIND = "behind"
    AHEAD = "ahead"
    ABSENT = "not there yet"


@dataclass(frozen=True, slots=True)
class Database:
    """One database that has a schema.

    Attributes:
        name: ``admin`` or ``execution``; the history of its migrations.
        url: as set, password included. variable: what it is set by.
        timeout_s: longest wait for a lock while migrating, seconds. connect_timeout_s: for a connection.
    """

    name: str
    url: str = field(repr=False)
    variable: str
    timeout_s: float
    connect_timeout_s: float

    @property
    def backend(self) -> str:
        """``sqlite``, ``postgresql``, or whatever else the URL names."""
        return self.url.partition(":")[0].partition("+")[0]

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database; None for one in memory, and for all others."""
        match = _SQLITE.fullmatch(self.url)
        path = match["path"] if match else ""
        return None if path in ("", ":memory:") or path.startswith("file:") else Path(path)

    @property
    def shown(self) -> str:
        """Where it is, without password."""
        if self.backend == "sqlite":
            return str(self.path or ":memory:")
        return postgres.shown(self.url).partition("://")[2]

    @property
    def head(self) -> str:
        """The revision that this version needs."""
        return REVISIONS[self.name][-1]

    @property
    def version_table(self) -> str:
        """The table that holds the revision; each history has its own, as both databases may be one."""
        return f"alembic_version_{self.name}"


@dataclass(frozen=True, slots=True)
class State:
    """How a database stands.

    Attributes:
        database: which one.
        revision: None when it has none: nothing is in it, or what is there came before migrations.
        standing: what that means.
    """

    database: Database
    revision: str | None
    standing: Standing


def databases(settings: Settings) -> list[Database]:
    """Every database of these settings that has a schema; executions in SQLite files have theirs in the files."""
    found = [("admin", settings.admin_database)]
    url = settings.execution_database
    if url is not None and url.startswith("postgresql"):
        found.append(("execution", url))
    timeouts = settings.database_timeout, settings.database_connect_timeout
    return [Database(name, url, f"KODO_{name.upper()}_DATABASE", *timeouts) for name, url in found]


def database_of(settings: Settings, name: str) -> Database:
    """One database by its name.

    Raises:
        ConfigurationError: these settings have no such database; names those they have.
    """
    known = {database.name: database for database in databases(settings)}
    if name not in known:
        raise ConfigurationError(f"There is no database {name!r}; these settings have: {', '.join(known)}.")
    return known[name]


async def current(database: Database) -> State:
    """How a database stands now.

    Raises:
        ConfigurationError: it can't be used; says what to correct.
        StoreUnavailable: it can't be reached now.
    """
    if database.backend == "postgresql":
        return state_of(database, await _postgres_revision(database), empty=False)
    if database.backend != "sqlite":
        raise ConfigurationError(f"{database.variable}: use an SQLite or a PostgreSQL URL.")
    return await asyncio.to_thread(_sqlite_state, database)


def state_of(database: Database, revision: str | None, *, empty: bool) -> State:
    """What a revision means.

    Args:
        database: that has it. revision: None when it has none.
        empty: nothing at all is in it, and whoever needs it first makes it.
    """
    if revision == database.head:
        return State(database, revision, Standing.CURRENT)
    if revision is not None and revision not in REVISIONS[database.name]:
        return State(database, revision, Standing.AHEAD)
    return State(database, revision, Standing.ABSENT if empty else Standing.BEHIND)


@asynccontextmanager
async def connected(database: Database) -> AsyncGenerator[postgres.Connection]:
    """A connection to a PostgreSQL database for the block; errors of both are translated.

    Raises:
        ConfigurationError: trying again can't help. StoreUnavailable: it may.
    """
    try:
        connection = await postgres.connect(
            database.url,
            settings_name=database.variable,
            connect_timeout_s=database.connect_timeout_s,
            command_timeout_s=database.timeout_s,
            statement_cache_size=0,
        )
        try:
            yield connection
        finally:
            with suppress(Exception):
                await connection.close(timeout=database.connect_timeout_s)
    except Exception as exc:
        raise translated(database, exc) from exc


def translated(database: Database, exc: BaseException) -> ConfigurationError | StoreUnavailable:
    """A driver's error as ours, one line without credentials."""
    if isinstance(exc, ConfigurationError | StoreUnavailable):
        return exc
    text = postgres.explain(exc, database.url, database.variable)
    return ConfigurationError(text) if postgres.permanent(exc) else StoreUnavailable(text)


async def _postgres_revision(database: Database) -> str | None:
    async with connected(database) as connection:
        try:
            # In a transaction: else a pooler may send the two halves of a query to two servers.
            async with connection.transaction(readonly=True):
                revision: str | None = await connection.fetchval(f"SELECT version_num FROM {database.version_table}")  # noqa: S608
                return revision
        except Exception as exc:
            if postgres.sqlstate(exc) == "42P01":
                return None
            raise


def _sqlite_state(database: Database) -> State:
    path = database.path
    try:
        if path is None or not path.exists() or path.stat().st_size == 0:
            return state_of(database, None, empty=True)
        # Not read-only: what a killed process left in the write-ahead log could not be read then.
        source = f"file:{quote(str(path.absolute()))}?mode=rw"
        with closing(sqlite3.connect(source, uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if database.version_table not in tables:
                return state_of(database, None, empty=not tables)
            row = connection.execute(f"SELECT version_num FROM {database.version_table}").fetchone()  # noqa: S608
            return state_of(database, row[0] if row else None, empty=False)
    except (OSError, sqlite3.Error) as exc:
        raise unusable(database, exc) from exc


def unusable(database: Database, exc: Exception) -> ConfigurationError | StoreUnavailable:
    """An error of an SQLite file as ours: one that is only busy may be tried again."""
    if getattr(exc, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreUnavailable(f"{database.variable}: {database.shown} is locked by another process ({exc}).")
    return ConfigurationError(f"{database.variable}={database.url!r} cannot be used: {exc}")
