"""The admin database: roles and their sessions; modules bring further tables by deriving from :class:`Base`.

SQLite by default, PostgreSQL otherwise. An SQLite database that is not there yet is made, by however many panel
processes start at once; any other must have the schema of this version. Holds no execution and no event.
"""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Connection, Engine, Float, ForeignKey, Row, Select, String, Uuid, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from .. import schema
from ..config import Settings
from ..error import ConfigurationError
from ..schema.engine import postgres_engine

TABLE_MODULES = (".flow.table", ".idempotency.table")
"""Modules of this package that bring tables."""

_HINT = "use sqlite+aiosqlite:///FOLDER/admin.db or postgresql+asyncpg://USER:PASSWORD@HOST/NAME"
BUSY_TIMEOUT_S = 10.0
"""Seconds a writer waits for another process' transaction on SQLite."""


class Base(DeclarativeBase):
    """Root of every table of the admin database; a module that defines one is named in :data:`TABLE_MODULES`."""


class Role(Base):
    """Somebody who may log in."""

    __tablename__ = "roles"

    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True, default=lambda: str(uuid.uuid4()))
    name: Mapped[str] = mapped_column(String(100), unique=True)
    email: Mapped[str] = mapped_column(String(320), unique=True)
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    password: Mapped[str] = mapped_column(String(100))
    operator: Mapped[bool] = mapped_column(Boolean, default=False)


class LoginSession(Base):
    """One login; its token holds as long as this row exists."""

    __tablename__ = "sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=lambda: uuid.uuid4().hex)
    role_id: Mapped[str] = mapped_column(ForeignKey("roles.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[float] = mapped_column(Float, index=True)


class AdminDatabase:
    """Connections to the admin database.

    Args:
        settings: as loaded.

    Raises:
        ConfigurationError: the URL cannot be used; says what would be.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = schema.database_of(settings, "admin")
        self._reader: Engine | None = None
        if self._database.backend == "postgresql":
            _require_asyncpg(self._database.url)
            self.engine = _postgres_engine(settings)
        else:
            url = _checked(self._database.url)
            # Parameters hold password hashes: no error text may show them.
            self.engine = create_async_engine(url, hide_parameters=True)
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
            if folder_of(self._database.url) is not None:
                self._reader = _sqlite_reader(url)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    async def open(self) -> None:
        """Makes an SQLite database that is not there yet, and sees to it that the schema is this version's.

        Waits for a server that cannot be reached, and says so.

        Raises:
            ConfigurationError: the database cannot be used, or its schema is behind; names the remedy.
        """
        if self._database.backend == "sqlite":
            await self._make_when_absent()
        if self._database.backend != "sqlite" or self._database.path is not None:
            await schema.until_current(self._settings, "admin")

    async def _make_when_absent(self) -> None:
        try:
            folder = folder_of(self._database.url)
            if folder is not None:
                await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
            async with self.engine.begin() as connection:
                await connection.run_sync(_make_when_empty, self._database)
        except (DBAPIError, OSError) as exc:
            cause = exc.orig if isinstance(exc, DBAPIError) else exc
            raise ConfigurationError(f"KODO_ADMIN_DATABASE={self._database.url!r} cannot be used: {cause}") from exc

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[AsyncSession]:
        """A session whose work is committed at the end of the block, or rolled back when it raises."""
        async with self._sessions() as session, session.begin():
            yield session

    async def rows(
        self, query: Select[*tuple[Any, ...]], parameters: Mapping[str, Any] | None = None
    ) -> Sequence[Row[*tuple[Any, ...]]]:
        """What a query of columns finds now, in less time than a session takes: for what every request asks.

        Args:
            query: changes nothing. parameters: of its ``bindparam``, by name.
        """
        if self._reader is None:
            async with self.engine.connect() as connection:
                return (await connection.execute(query, parameters)).all()
        # One step on one thread, where the asynchronous driver takes one for each of its calls.
        return await asyncio.to_thread(_rows, self._reader, query, parameters)

    async def close(self) -> None:
        """Closes all connections; idempotent."""
        await self.engine.dispose()
        if self._reader is not None:
            self._reader.dispose()


def _sqlite_reader(url: URL) -> Engine:
    reader = create_engine(
        url.set(drivername="sqlite"), hide_parameters=True, isolation_level="AUTOCOMMIT", pool_reset_on_return=None
    )
    event.listen(reader, "connect", _prepare_sqlite)
    return reader


def _rows(
    reader: Engine, query: Select[*tuple[Any, ...]], parameters: Mapping[str, Any] | None
) -> Sequence[Row[*tuple[Any, ...]]]:
    with reader.connect() as connection:
        return connection.execute(query, parameters).all()


def folder_of(url: str) -> Path | None:
    """The folder of an SQLite file, None for any other database."""
    if not url.startswith("sqlite"):
        return None
    path = _checked(url).database
    return Path(path).parent if path and ":memory:" not in path else None


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
        is_async = parsed.get_dialect().is_async
    except (ArgumentError, NoSuchModuleError):
        raise ConfigurationError(f"KODO_ADMIN_DATABASE cannot be read: {_HINT}.") from None
    if not is_async:
        raise ConfigurationError(f"KODO_ADMIN_DATABASE: {parsed.drivername!r} is not an async driver; {_HINT}.")
    if parsed.get_backend_name() != "sqlite":
        raise ConfigurationError(f"KODO_ADMIN_DATABASE: {parsed.drivername!r} is not supported; {_HINT}.")
    return parsed


def _require_asyncpg(url: str) -> None:
    driver = url.partition("://")[0]
    if driver != "postgresql+asyncpg":
        raise ConfigurationError(f"KODO_ADMIN_DATABASE: {driver!r} is not an async driver; {_HINT}.")


def _postgres_engine(settings: Settings) -> AsyncEngine:
    return postgres_engine(
        settings.admin_database,
        "KODO_ADMIN_DATABASE",
        connect_timeout_s=settings.database_connect_timeout,
        timeout_s=settings.database_timeout,
        # After a restart of the server the connections that were are tried, and thrown away, before they are used.
        pool_pre_ping=True,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=settings.database_connect_timeout,
    )


def _make_when_empty(connection: Connection, database: schema.Database) -> None:
    """Makes all tables at the newest revision, as the migrations do (a test compares), without importing Alembic."""
    if not _is_empty(connection):
        return
    # Whoever else is just as early waits here, and finds the tables then.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    if _is_empty(connection):
        for name in TABLE_MODULES:
            import_module(name, __package__)
        Base.metadata.create_all(connection)
        connection.exec_driver_sql(
            f"CREATE TABLE {database.version_table} (version_num VARCHAR(32) NOT NULL, "
            f"CONSTRAINT {database.version_table}_pkc PRIMARY KEY (version_num))"
        )
        connection.exec_driver_sql(f"INSERT INTO {database.version_table} VALUES ('{database.head}')")  # noqa: S608


def _is_empty(connection: Connection) -> bool:
    return connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE type = 'table'").first() is None


def _prepare_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA synchronous = NORMAL")
        _use_wal(cursor)
    finally:
        cursor.close()


def _use_wal(cursor: Any) -> None:
    try:
        cursor.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError:
        # Changing the mode ignores the busy timeout; whoever holds the file is changing it just now.
        return
