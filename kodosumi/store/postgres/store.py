"""The central store: all executions and events in one PostgreSQL database.

Everything is in step because everything of an append is one transaction there; this process keeps nothing that the
database doesn't have.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from ... import postgres
from ...config import Settings
from ...error import ConfigurationError, ExecutionNotFound
from ...events import Batch, EventKind, ExecutionState, StoredEvent, storable
from ...postgres import Connection
from ..base import Appended, Execution, ExecutionChange, Notice, RemoveFiles, Tally
from . import launches, removal, statements
from .appending import Appender
from .pool import SETTINGS_NAME, Pool
from .rows import changes_of, events_of, execution_of, notices_of

_MAX_ROWS = 100_000
_MAX_SEQ = 2**62
_UNSEEN_TRANSACTION = 3
"""How many timeouts a transaction may last that we may not look at."""


class PostgresExecutionStore:
    """See :class:`~kodosumi.store.base.ExecutionStore`. Making one connects to nothing; the first call does.

    Args:
        url: the database, see :func:`kodosumi.postgres.dsn_of`.
        pool_size: connections at most.
        timeout_s: longest time of a statement, a wait for a lock, or an idle transaction, seconds.
        connect_timeout_s: longest wait for a connection, seconds.
        notices: note what somebody outside is to be told of.

    Raises:
        ConfigurationError: the URL cannot be read, or the driver is missing.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 10.0,
        notices: bool = False,
    ) -> None:
        postgres.driver(SETTINGS_NAME)
        try:
            postgres.dsn_of(url)
        except ConfigurationError as exc:
            raise ConfigurationError(f"{SETTINGS_NAME}: {exc}") from None
        self._timeout_s = timeout_s
        self._pool = Pool(url, size=pool_size, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s)
        self._appender = Appender(self._pool, notices=notices)

    @classmethod
    def from_settings(cls, settings: Settings) -> PostgresExecutionStore:
        """The store in the database that ``KODO_EXECUTION_DATABASE`` names."""
        return cls(
            settings.execution_database or "",
            pool_size=settings.database_pool_size,
            timeout_s=settings.database_timeout,
            connect_timeout_s=settings.database_connect_timeout,
            notices=bool(settings.webhook_url),
        )

    async def append(self, fid: str, username: str, batches: Sequence[Batch]) -> Appended:
        return await self._appender.append(storable(fid), storable(username), batches)

    async def keep_launch(self, fid: str, username: str, launch: bytes) -> None:
        await launches.keep(self._pool, storable(fid), storable(username), launch)

    async def launch(self, fid: str) -> bytes:
        rows = await self._rows(statements.LAUNCH, storable(fid))
        if not rows:
            raise ExecutionNotFound(fid)
        return b"".join(row["launch"] for row in rows)

    async def drop_launch(self, fid: str) -> None:
        await self._rows(statements.DROP_LAUNCH, storable(fid))

    async def drop_lost_launches(self, before: float) -> int:
        return int((await self._rows(statements.DROP_LOST_LAUNCHES, before))[0][0])

    async def events(
        self, fid: str, after: int = 0, limit: int = 1000, kinds: Collection[EventKind] | None = None
    ) -> list[StoredEvent]:
        values = (storable(fid), min(max(after, 0), _MAX_SEQ), max(0, min(limit, _MAX_SEQ)))
        if kinds is None:
            return events_of(await self._found(fid, statements.EVENTS, *values))
        names = sorted({EventKind(kind).value for kind in kinds})
        return events_of(await self._found(fid, statements.EVENTS_OF_KINDS, *values, names))

    async def last_event(self, fid: str, kind: EventKind) -> StoredEvent | None:
        found = events_of(await self._found(fid, statements.LAST_EVENT, storable(fid), EventKind(kind).value))
        return found[0] if found else None

    async def execution(self, fid: str) -> Execution:
        rows = await self._rows(statements.RECORD, storable(fid))
        if not rows or rows[0]["purged"] or not rows[0]["seq"]:
            raise ExecutionNotFound(fid)
        return execution_of(rows[0])

    async def executions(
        self,
        *,
        username: str | None = None,
        query: str = "",
        before: str | None = None,
        after: str | None = None,
        limit: int = 10,
    ) -> list[Execution]:
        words = storable(query).casefold()
        page = statements.page(_text(username), words, _text(before), _text(after), _count(limit))
        return [execution_of(row) for row in await self._rows(page.text, *page.values)]

    async def count(self, *, username: str | None = None) -> int:
        if username is None:
            rows = await self._rows(statements.COUNT)
        else:
            rows = await self._rows(statements.COUNT_OF_USER, storable(username))
        return int(rows[0][0])

    async def tally(self) -> Tally:
        living = await self._rows(statements.LIVING)
        ended = await self._rows(statements.ENDED)
        return Tally(*({ExecutionState(state): int(count) for state, count in rows} for rows in (living, ended)))

    async def changes(
        self, since: float, *, username: str | None = None, query: str = "", limit: int = 100
    ) -> list[ExecutionChange]:
        words = storable(query).casefold()

        async def job(connection: Connection) -> list[Any]:
            # two statements on purpose: the second one's snapshot must be younger
            horizon = await connection.fetchval(statements.HORIZON, _UNSEEN_TRANSACTION * self._timeout_s)
            changed = statements.changes(since, horizon, _text(username), words, _count(limit))
            rows: list[Any] = await connection.fetch(changed.text, *changed.values)
            return rows

        return changes_of(await self._pool.run(job))

    async def live(self) -> list[Execution]:
        return [execution_of(row) for row in await self._rows(statements.LIVE)]

    async def archive(self, fid: str) -> None:
        async def job(connection: Connection) -> bool:
            hidden = await connection.execute(statements.ARCHIVE, storable(fid))
            return hidden != "INSERT 0 0" or bool(await connection.fetchval(statements.KNOWN, storable(fid)))

        if not await self._pool.run(job):
            raise ExecutionNotFound(fid)

    async def purge(self, fid: str) -> None:
        await removal.purge(self._pool, storable(fid))

    async def expire(self, before: float, limit: int, remove_files: RemoveFiles | None = None) -> int:
        return await removal.expire(self._pool, before, limit, remove_files)

    async def archived(self, older_than: float) -> list[Execution]:
        return [execution_of(row) for row in await self._rows(statements.ARCHIVED, older_than)]

    async def notices(self, limit: int, lease_s: float) -> list[Notice]:
        return notices_of(await self._rows(statements.CLAIM_NOTICES, _count(limit), lease_s))

    async def settle_notice(self, notice: Notice) -> None:
        await self._rows(statements.SETTLE_NOTICE, storable(notice.fid), notice.seq)

    async def defer_notice(self, notice: Notice, pause_s: float) -> None:
        await self._rows(statements.DEFER_NOTICE, storable(notice.fid), notice.seq, pause_s)

    async def waiting_notices(self) -> int:
        return int((await self._rows(statements.WAITING_NOTICES))[0][0])

    async def check(self) -> None:
        # each committed by itself: what is not committed proves nothing
        for statement in statements.PROBE:
            await self._rows(statement)

    async def close(self) -> None:
        await self._pool.close()

    async def _rows(self, text: str, *values: object) -> list[Any]:
        async def job(connection: Connection) -> list[Any]:
            rows: list[Any] = await connection.fetch(text, *values)
            return rows

        return await self._pool.run(job)

    async def _found(self, fid: str, text: str, *values: object) -> list[Any]:
        """Rows of an execution's events.

        Raises:
            ExecutionNotFound: there are none, and no execution either.
        """
        rows = await self._rows(text, *values)
        if not rows and not (await self._rows(statements.KNOWN, storable(fid)))[0][0]:
            raise ExecutionNotFound(fid)
        return rows


def _text(value: str | None) -> str | None:
    return None if value is None else storable(value)


def _count(limit: int) -> int:
    return max(0, min(limit, _MAX_ROWS))
