"""Connections of one process to the database, and the border at which the driver's errors become ours.

A lost connection costs one repetition and nobody notices. Behind a pooler in transaction mode, such as pgbouncer, two
statements in a row may reach different server connections: there, everything runs in a transaction and nothing is
kept on a connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from ... import postgres
from ...error import ConfigurationError, StoreError, StoreUnavailable
from ...postgres import Connection

Result = TypeVar("Result")
Job = Callable[[Connection], Awaitable[Result]]

SETTINGS_NAME = "KODO_EXECUTION_DATABASE"
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
_IDLE_S = 300.0
_GRACE_S = 5.0
"""How much longer than the server we wait for an answer: its error says more than ours."""

_LOST_STATES = frozenset({"57P01", "57P02", "57P05", "08000", "08003", "08006"})
_HOPELESS_CLASSES = frozenset({"22", "23", "54"})
"""Classes of SQLSTATE that the data itself causes: repeating cannot help."""

logger = logging.getLogger(__name__)


class _Loop:
    """What one event loop holds: connections cannot be used from another."""

    def __init__(self) -> None:
        self.opening = asyncio.Lock()
        self.pool: Any = None


class Pool:
    """At most ``size`` connections per event loop, opened when they are needed.

    Args:
        url: the database. size: connections at most.
        timeout_s: longest time of a statement, a wait for a lock, or an idle transaction.
        connect_timeout_s: longest wait for a connection, a new one or one that others are using.
    """

    def __init__(self, url: str, *, size: int, timeout_s: float, connect_timeout_s: float) -> None:
        self._url = url
        self._size = size
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop] = WeakKeyDictionary()
        self._pooled: bool | None = None
        self._closed = False
        limit_ms = str(round(1_000 * timeout_s))
        self._limits = {
            "statement_timeout": limit_ms,
            "lock_timeout": limit_ms,
            "idle_in_transaction_session_timeout": limit_ms,
        }

    async def run(self, job: Job[Result], *, transaction: bool = False) -> Result:
        """What the job gives; done once more on a new connection when its own was lost.

        Args:
            job: may be done twice, even if the first time was committed and only the answer was lost.
            transaction: whether all of it is one transaction; else each statement is one by itself.

        Raises:
            StoreUnavailable: trying again later may help. StoreError: it won't.
            ConfigurationError: there never was a connection, and never will be.
        """
        try:
            return await self._once(job, transaction)
        except Exception as exc:
            if not _is_loss(exc):
                raise self._translated(exc) from exc
            logger.info("connecting again: %s", postgres.explain(exc, self._url, SETTINGS_NAME))
        # the others were lost with it, most likely; each would cost its user an error
        await self._expire()
        with self._translation():
            return await self._once(job, transaction)

    async def close(self) -> None:
        """Closes the connections; idempotent. Nothing can be run afterwards."""
        self._closed = True
        here = asyncio.get_running_loop()
        loops, self._loops = dict(self._loops), WeakKeyDictionary()
        for loop, held in loops.items():
            if held.pool is None or loop.is_closed():
                continue
            if loop is not here:
                loop.call_soon_threadsafe(held.pool.terminate)
                continue
            try:
                async with asyncio.timeout(_GRACE_S):
                    await held.pool.close()
            except Exception:
                held.pool.terminate()

    async def _once(self, job: Job[Result], transaction: bool) -> Result:
        async with self._connection() as connection:
            if not transaction and not self._pooled:
                return await job(connection)
            await connection.execute(self._begin())
            # on any failure, giving the connection back rolls back
            result = await job(connection)
            await connection.execute("COMMIT")
            return result

    def _begin(self) -> str:
        if not self._pooled:
            return _BEGIN
        return ";".join([_BEGIN, *(f"SET LOCAL {name} = {value}" for name, value in self._limits.items())])

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        pool = None
        try:
            async with asyncio.timeout(self._connect_timeout_s) as waiting:
                pool = await self._opened()
                connection = await pool.acquire()
        except TimeoutError as exc:
            if pool is not None and waiting.expired() and pool.get_size() - pool.get_idle_size() >= self._size:
                raise StoreUnavailable(
                    f"All {self._size} connections of this process to PostgreSQL are in use: "
                    "raise KODO_DATABASE_POOL_SIZE, or look for slow statements."
                ) from exc
            raise
        try:
            yield connection
        finally:
            await pool.release(connection, timeout=self._timeout_s)

    async def _opened(self) -> Any:
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        held = self._loops.setdefault(asyncio.get_running_loop(), _Loop())
        if held.pool is None:
            async with held.opening:
                if held.pool is None:
                    held.pool = await self._open()
        return held.pool

    async def _open(self) -> Any:
        """A pool; finds out first what stands between us and the server."""
        if self._pooled is None:
            probe = await self._connect(statement_cache_size=0)
            try:
                self._pooled = await postgres.is_pooled(probe)
            finally:
                probe.terminate()
            logger.info(
                "executions are kept in %s%s", postgres.shown(self._url), ", behind a pooler" if self._pooled else ""
            )
        return await postgres.driver(SETTINGS_NAME).create_pool(
            min_size=0,
            max_size=self._size,
            max_inactive_connection_lifetime=_IDLE_S,
            connect=self._connect_member,
            reset=_nothing,
        )

    async def _connect_member(self, *_: object, **options: Any) -> Connection:
        if self._pooled:
            return await self._connect(statement_cache_size=0, **options)
        settings = {**self._limits, "default_transaction_isolation": "read committed", "jit": "off"}
        return await self._connect(server_settings=settings, **options)

    async def _connect(self, **options: Any) -> Connection:
        return await postgres.connect(
            self._url,
            settings_name=SETTINGS_NAME,
            connect_timeout_s=self._connect_timeout_s,
            command_timeout_s=self._timeout_s + _GRACE_S,
            **options,
        )

    async def _expire(self) -> None:
        held = self._loops.get(asyncio.get_running_loop())
        if held is not None and held.pool is not None:
            await held.pool.expire_connections()

    @contextlib.contextmanager
    def _translation(self) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            raise self._translated(exc) from exc

    def _translated(self, exc: Exception) -> Exception:
        """Our error for any other; what is no trouble of the database stays as it is."""
        if isinstance(exc, ConfigurationError):
            # it worked before, so it may again, when somebody has put it right
            return exc if self._pooled is None else StoreUnavailable(str(exc))
        if isinstance(exc, StoreError) or not _is_trouble(exc):
            return exc
        state = postgres.sqlstate(exc) or ""
        kind = StoreError if state[:2] in _HOPELESS_CLASSES or isinstance(exc, ValueError) else StoreUnavailable
        return kind(postgres.explain(exc, self._url, SETTINGS_NAME))


async def _nothing(connection: Connection) -> None:
    """Instead of the driver's reset: we leave nothing on a connection, and a pooler would not like it."""


def _is_trouble(exc: Exception) -> bool:
    asyncpg = postgres.driver(SETTINGS_NAME)
    kinds = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
    return isinstance(exc, kinds)


def _is_loss(exc: Exception) -> bool:
    """Whether a connection broke that once was good."""
    if isinstance(exc, ConnectionRefusedError | ConfigurationError | StoreError):
        return False
    if isinstance(exc, ConnectionError) or postgres.sqlstate(exc) in _LOST_STATES:
        return True
    return "connection is closed" in str(exc) or type(exc).__name__ == "ConnectionDoesNotExistError"
