"""Executions that were stored elsewhere, written into the central database as they were.

Each one is there as a whole or not at all: its row comes last in the transaction of its events. Nothing is cached and
nothing prepared by name, so a pooler in transaction mode may stand between.
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from ... import postgres
from ...config import Settings
from ...error import ConfigurationError, StoreUnavailable
from ...events import Event
from . import statements
from .pool import SETTINGS_NAME
from .rows import Record, detail_values, progress_values

IMPORT_LOCK = 0x6B6F646F_696D70
"""Advisory lock ("kodoimp"): two imports at once take turns, so that neither meets half of the other's work."""

LOCK = f"SELECT pg_advisory_xact_lock({IMPORT_LOCK})"
KNOWN = "SELECT fid, username, seq, purged FROM executions WHERE fid = ANY($1)"
INSERT = f"""
    WITH given AS (SELECT * FROM unnest($1::text[], $2::text[], $3::bool[], $4::int8[], $5::text[], $6::float8[],
            $7::float8[], $8::float8[], $9::text[], $10::int8[], $11::int8[])
            AS given (fid, username, archived, {", ".join(statements.PROGRESS)})),
        counted AS (INSERT INTO execution_tally (username, listed)
            SELECT username, count(*) FROM given WHERE NOT archived GROUP BY username),
        summed AS (INSERT INTO execution_ended (state, runs)
            SELECT state, count(*) FROM given WHERE finished_at IS NOT NULL GROUP BY state)
    INSERT INTO executions (fid, username, archived, version, modified_at, {", ".join(statements.PROGRESS)})
    SELECT fid, username, archived, 1, extract(epoch FROM clock_timestamp()), {", ".join(statements.PROGRESS)}
    FROM given"""  # noqa: S608 (names of columns)
DIGESTS = """
    SELECT given.place, count(*), coalesce(sum(('x' || substr(md5(
        int8send(seq) || float8send("timestamp") || convert_to(kind || ':' || message, 'UTF8')), 1, 15))
        ::bit(60)::int8), 0)::text
    FROM unnest($1::text[], $2::int8[], $3::int8[]) WITH ORDINALITY AS given (fid, after, upto, place)
    JOIN execution_events events ON events.fid = given.fid AND events.seq > given.after AND events.seq <= given.upto
    GROUP BY given.place"""


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
            async with self._connection.transaction(isolation="read_committed"):
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
            columns=statements.EVENT_COLUMNS,
            records=(
                (seq, timestamp, kind.value, payload, fid, username)
                for username, (fid, after, events) in spans
                for seq, (kind, timestamp, payload) in enumerate(events, after + 1)
            ),
        )

    async def finish(self, records: Sequence[Record]) -> None:
        """Makes known whose events were written. Comes last: what it locks, living executions wait for."""
        if not records:
            return
        await self._connection.copy_records_to_table(
            "execution_details",
            columns=("fid", *statements.DETAILS),
            records=[(record.execution.fid, *detail_values(record)) for record in records],
        )
        columns = zip(*(_values(record) for record in records), strict=True)
        await self._connection.execute(INSERT, *map(list, columns))

    async def analyze(self) -> None:
        """Tells the planner of what came in at once, so that the next reads need not wait for the autovacuum."""
        with _translated(self._url):
            await self._connection.execute("ANALYZE execution_events, executions, execution_details")


@contextlib.asynccontextmanager
async def import_target(settings: Settings) -> AsyncIterator[ImportTarget]:
    """A connection for an import, closed behind it.

    Raises:
        ConfigurationError: see :func:`require_database`; or the database can't ever be reached.
        StoreUnavailable: it can't be reached now.
    """
    url = require_database(settings)
    with _translated(url):
        connection = await postgres.connect(
            url,
            settings_name=SETTINGS_NAME,
            connect_timeout_s=settings.database_connect_timeout,
            command_timeout_s=settings.database_timeout,
            statement_cache_size=0,
        )
    try:
        yield ImportTarget(connection, url)
    finally:
        with contextlib.suppress(Exception):
            await connection.close(timeout=settings.database_connect_timeout)


def require_database(settings: Settings) -> str:
    """The URL of the central database.

    Raises:
        ConfigurationError: the setting names none; says what to set.
    """
    url = settings.execution_database or ""
    if not url.startswith("postgres"):
        raise ConfigurationError(
            f"{SETTINGS_NAME} names no PostgreSQL database to import into: "
            "set it to postgresql+asyncpg://user:password@host:5432/database"
        )
    return url


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    asyncpg = postgres.driver(SETTINGS_NAME)
    try:
        yield
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as exc:
        raise StoreUnavailable(postgres.explain(exc, url, SETTINGS_NAME)) from exc


def _digest(span: Span) -> tuple[int, int]:
    """How many events, and the sum of their digests, as ``DIGESTS`` has it."""
    total = 0
    for seq, (kind, timestamp, payload) in enumerate(span.events, span.after + 1):
        row = struct.pack(">qd", seq, timestamp) + f"{kind.value}:{payload}".encode()
        total += int(hashlib.md5(row, usedforsecurity=False).hexdigest()[:15], 16)
    return len(span.events), total


def _values(record: Record) -> list[object]:
    execution = record.execution
    return [execution.fid, execution.username, execution.archived, *progress_values(record)]
