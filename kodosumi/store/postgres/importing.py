"""Executions that were stored elsewhere, written into the central database as they were.

Each one is there as a whole or not at all: its row comes last in the transaction of its events. Nothing is cached and
nothing prepared by name, so a pooler in transaction mode may stand between.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from ... import postgres
from ...config import Settings
from ...error import ConfigurationError, StoreUnavailable
from ...events import Event, Position
from ..base import Execution
from ..summary import search_text

SETTING = "KODO_EXECUTION_DATABASE"
IMPORT_LOCK = 0x6B6F646F_696D70
"""Advisory lock ("kodoimp"): two imports at once take turns, so that neither meets half of the other's work."""

LOCK = f"SELECT pg_advisory_xact_lock({IMPORT_LOCK})"
KNOWN = "SELECT fid, username, seq, purged FROM executions WHERE fid = ANY($1)"
INSERT = """
    INSERT INTO executions (fid, username, version, seq, state, started_at, finished_at, changed_at, modified_at,
        locks, archived, purged, epoch, "offset")
    SELECT fid, username, 1, seq, state, started_at, finished_at, changed_at,
        extract(epoch FROM clock_timestamp()), '[]', archived, false, epoch, "offset"
    FROM unnest($1::text[], $2::text[], $3::int8[], $4::text[], $5::float8[], $6::float8[], $7::float8[], $8::bool[],
        $9::int8[], $10::int8[])
        AS given (fid, username, seq, state, started_at, finished_at, changed_at, archived, epoch, "offset")"""
DIGESTS = """
    SELECT given.place, count(*), coalesce(sum(('x' || substr(md5(
        int8send(seq) || float8send("timestamp") || convert_to(kind || ':' || message, 'UTF8')), 1, 15))
        ::bit(60)::int8), 0)::text
    FROM unnest($1::text[], $2::int8[], $3::int8[]) WITH ORDINALITY AS given (fid, after, upto, place)
    JOIN execution_events events ON events.fid = given.fid AND events.seq > given.after AND events.seq <= given.upto
    GROUP BY given.place"""
EVENT_COLUMNS = ("fid", "username", "timestamp", "kind", "message", "seq")
DETAIL_COLUMNS = ("fid", "meta", "inputs", "error", "final", "search")


class Known(NamedTuple):
    """What the database knows of an execution already: its owner, its last place, whether it was removed."""

    username: str
    seq: int
    purged: bool


class Span(NamedTuple):
    """Events of an execution; the first has the place ``after + 1``."""

    fid: str
    after: int
    events: Sequence[Event]


class Finished(NamedTuple):
    """An execution whose events are all written: its summary, the beginning of its result, its place in a transport."""

    execution: Execution
    final: str
    position: Position | None


class ImportTarget:
    """One connection to the central database. Made by :func:`import_target`, used by one task.

    Everything between :meth:`transaction` and :meth:`analyze` is called inside a transaction. It raises
    ``StoreUnavailable`` when the database can't be used now; what it did has left no trace then.
    """

    def __init__(self, connection: postgres.Connection, url: str) -> None:
        self._connection = connection
        self._url = url

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """All or nothing, one importing process at a time."""
        with _translated(self._url):
            async with self._connection.transaction():
                await self._connection.execute(LOCK)
                yield

    async def known(self, fids: Collection[str]) -> dict[str, Known]:
        """Those of these executions that the database knows."""
        rows = await self._connection.fetch(KNOWN, list(fids))
        return {fid: Known(username, seq, purged) for fid, username, seq, purged in rows}

    async def holds(self, spans: Sequence[Span]) -> list[bool]:
        """Of each span, whether the database has exactly these events at these places."""
        if not spans:
            return []
        rows = await self._connection.fetch(
            DIGESTS,
            [span.fid for span in spans],
            [span.after for span in spans],
            [span.after + len(span.events) for span in spans],
        )
        found = {place: (count, int(digest)) for place, count, digest in rows}
        return [found.get(place, (0, 0)) == _digest(span) for place, span in enumerate(spans, 1)]

    async def write(self, username: str, span: Span) -> None:
        """Adds events; :meth:`finish` makes them an execution."""
        await self.write_all([(username, span)])

    async def write_all(self, spans: Iterable[tuple[str, Span]]) -> None:
        """Adds the events of several executions, each with its owner."""
        await self._connection.copy_records_to_table(
            "execution_events",
            columns=EVENT_COLUMNS,
            records=(
                (fid, username, timestamp, kind.value, payload, seq)
                for username, (fid, after, events) in spans
                for seq, (kind, timestamp, payload) in enumerate(events, after + 1)
            ),
        )

    async def finish(self, executions: Sequence[Finished]) -> None:
        """Makes known whose events were written. Comes last: what it locks, living executions wait for."""
        if not executions:
            return
        await self._connection.copy_records_to_table(
            "execution_details", columns=DETAIL_COLUMNS, records=[_details(finished) for finished in executions]
        )
        columns = zip(*(_row(finished) for finished in executions), strict=True)
        await self._connection.execute(INSERT, *map(list, columns))

    async def analyze(self) -> None:
        """Tells the planner of what came in at once, so that the next reads need not wait for the autovacuum."""
        with _translated(self._url):
            await self._connection.execute("ANALYZE execution_events, executions, execution_details")


@contextlib.asynccontextmanager
async def import_target(settings: Settings) -> AsyncIterator[ImportTarget]:
    """A connection for an import, closed behind it.

    Raises:
        ConfigurationError: the setting names no PostgreSQL database, or one that can't ever be reached.
        StoreUnavailable: it can't be reached now.
    """
    url = settings.execution_database or ""
    if not url.startswith("postgres"):
        raise ConfigurationError(
            f"{SETTING} names no PostgreSQL database to import into: "
            "set it to postgresql+asyncpg://user:password@host:5432/database"
        )
    with _translated(url):
        connection = await postgres.connect(
            url,
            settings_name=SETTING,
            connect_timeout_s=settings.database_connect_timeout,
            command_timeout_s=settings.database_timeout,
            statement_cache_size=0,
        )
    try:
        yield ImportTarget(connection, url)
    finally:
        with contextlib.suppress(Exception):
            await connection.close(timeout=settings.database_connect_timeout)


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    asyncpg = postgres.driver(SETTING)
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as exc:
        raise StoreUnavailable(postgres.explain(exc, url, SETTING)) from exc


def _digest(span: Span) -> tuple[int, int]:
    """How many events, and the sum of their digests, as ``DIGESTS`` has it."""
    total = 0
    for seq, (kind, timestamp, payload) in enumerate(span.events, span.after + 1):
        row = struct.pack(">qd", seq, timestamp) + f"{kind.value}:{payload}".encode()
        total += int(hashlib.md5(row, usedforsecurity=False).hexdigest()[:15], 16)
    return len(span.events), total


def _details(finished: Finished) -> tuple[object, ...]:
    execution, final, _ = finished
    meta = json.dumps(execution.meta)
    return execution.fid, meta, execution.inputs, execution.error, final, search_text(execution, final).casefold()


def _row(finished: Finished) -> tuple[object, ...]:
    execution, _, position = finished
    return (
        execution.fid,
        execution.username,
        execution.seq,
        execution.state.value,
        execution.started_at,
        execution.finished_at,
        execution.changed_at,
        execution.archived,
        position.epoch if position else None,
        position.offset if position else None,
    )
