"""The admin database: roles and their sessions; modules bring further tables by deriving from :class:`Base`.

SQLite by default, any SQLAlchemy async URL otherwise. Tables are made when absent, by however many panel processes
start at once. Holds no execution and no event.
"""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Float, ForeignKey, String, Uuid, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import CreateIndex, CreateTable

from ..error import ConfigurationError

BUSY_TIMEOUT_S = 10.0
"""Seconds a writer waits for another process' transaction on SQLite."""


class Base(DeclarativeBase):
    """Root of every table of the admin database; import the module that defines a table before ``create``."""


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
        url: SQLAlchemy URL with an async driver.

    Raises:
        ConfigurationError: the URL cannot be used; says what would be.
    """

    def __init__(self, url: str) -> None:
        self._url = _checked(url)
        try:
            # Parameters hold password hashes: no error text may show them.
            self.engine: AsyncEngine = create_async_engine(
                self._url, hide_parameters=True, pool_pre_ping=not self._lite
            )
        except ModuleNotFoundError as exc:
            message = f"KODO_ADMIN_DATABASE: the driver {exc.name!r} is missing; install `kodosumi[postgres]`."
            raise ConfigurationError(message) from exc
        if self._lite:
            event.listen(self.engine.sync_engine, "connect", _prepare_sqlite)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @property
    def _lite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    async def create(self) -> None:
        """Makes what tables are absent; safe while other processes do the same.

        Raises:
            ConfigurationError: the database cannot be opened; names the reason.
        """
        folder = folder_of(self._url)
        if folder is not None:
            await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        try:
            async with self.engine.begin() as connection:
                await connection.run_sync(_create_tables)
        except DBAPIError as exc:
            shown = self._url.render_as_string(hide_password=True)
            raise ConfigurationError(f"KODO_ADMIN_DATABASE={shown!r} cannot be used: {exc.orig}") from exc

    @asynccontextmanager
    async def session(self) -> AsyncGenerator[AsyncSession]:
        """A session whose work is committed at the end of the block, or rolled back when it raises."""
        async with self._sessions() as session, session.begin():
            yield session

    async def close(self) -> None:
        """Closes all connections; idempotent."""
        await self.engine.dispose()


def folder_of(url: URL | str) -> Path | None:
    """The folder of an SQLite file, None for any other database."""
    url = make_url(url) if isinstance(url, str) else url
    if url.get_backend_name() != "sqlite" or not url.database or ":memory:" in url.database:
        return None
    return Path(url.database).parent


def _checked(url: str) -> URL:
    hint = "use sqlite+aiosqlite:///FOLDER/admin.db or postgresql+asyncpg://USER:PASSWORD@HOST/NAME"
    try:
        parsed = make_url(url)
        is_async = parsed.get_dialect().is_async
    except (ArgumentError, NoSuchModuleError):
        raise ConfigurationError(f"KODO_ADMIN_DATABASE cannot be read: {hint}.") from None
    if not is_async:
        raise ConfigurationError(f"KODO_ADMIN_DATABASE: {parsed.drivername!r} is not an async driver; {hint}.")
    return parsed


def _create_tables(connection: Any) -> None:
    # `create_all` looks first and creates then: of two processes that start at once, one would fail.
    for table in Base.metadata.sorted_tables:
        connection.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            connection.execute(CreateIndex(index, if_not_exists=True))


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
