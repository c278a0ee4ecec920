"""SQLAlchemy engines whose connections are opened by :mod:`kodosumi.postgres`, behind a pooler or not.

For the admin database and for migrations. Whoever imports this module imports SQLAlchemy.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from .. import postgres
from ..error import ConfigurationError

POOLED = "pooled"
_TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


def postgres_engine(
    url: str, settings_name: str, *, connect_timeout_s: float, timeout_s: float | None, **options: Any
) -> AsyncEngine:
    """An engine for a PostgreSQL database.

    A pooler in transaction mode may give every transaction another server connection. So no statement has a name
    (SQLAlchemy prepares each within its transaction), and nothing is set that outlasts a transaction there.

    Args:
        url: as set, see :func:`kodosumi.postgres.dsn_of`. settings_name: the variable that holds it.
        connect_timeout_s: longest wait for a connection, seconds.
        timeout_s: longest time of a statement, of waiting for a lock, and of an idle transaction; None: the server's.
        options: more of SQLAlchemy's ``create_async_engine``.

    Raises:
        ConfigurationError: the URL can't be read, or the driver is missing.
    """
    postgres.driver(settings_name)
    try:
        postgres.dsn_of(url)
    except ConfigurationError as exc:
        raise ConfigurationError(f"{settings_name}: {exc}") from None

    async def connect(**_: Any) -> postgres.Connection:
        try:
            return await postgres.connect(
                url,
                settings_name=settings_name,
                connect_timeout_s=connect_timeout_s,
                # The server's own timeout comes first, and leaves the connection usable.
                command_timeout_s=None if timeout_s is None else timeout_s + connect_timeout_s,
                statement_cache_size=0,
            )
        except Exception as exc:
            # One kind of error for all that can go wrong: whoever handles a database error handles this one too.
            raise OperationalError("connect", None, _Unreachable(postgres.explain(exc, url, settings_name))) from exc

    def creator() -> Any:
        # SQLAlchemy's `async_creator` has no way to pass these on.
        return dbapi.connect(
            async_creator_fn=connect, prepared_statement_cache_size=0, prepared_statement_name_func=_no_name
        )

    # The URL chooses the dialect alone: connections are opened above.
    engine = create_async_engine("postgresql+asyncpg://", creator=creator, hide_parameters=True, **options)
    dbapi: Any = engine.sync_engine.dialect.dbapi
    if timeout_s is not None:
        _bound(engine, timeout_s)
    return engine


class _Unreachable(Exception):
    """What :func:`kodosumi.postgres.explain` says, as the cause of an SQLAlchemy error."""


def _no_name() -> str:
    return ""


def _bound(engine: AsyncEngine, timeout_s: float) -> None:
    """Limits what a statement and a transaction may take."""
    limit = f"{timeout_s * 1000:.0f}ms"
    per_session = "; ".join(f"SET {name} = '{limit}'" for name in _TIMEOUTS)
    per_transaction = "SELECT " + ", ".join(f"set_config('{name}', '{limit}', true)" for name in _TIMEOUTS)

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, record: Any) -> None:
        record.info[POOLED] = connection.run_async(postgres.is_pooled)
        if not record.info[POOLED]:
            connection.run_async(lambda driver: driver.execute(per_session))

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Any) -> None:
        if connection.info.get(POOLED):
            connection.exec_driver_sql(per_transaction)
