"""One execution's own file: its events, and in the same transactions its summary and its place in the transport.

The table ``monitor`` is published. Ours are ``progress`` (small, written with every append) and ``summary`` (large,
written when it changes). A file of an earlier version has ``monitor`` only: it's read as it is, and gets our tables
with the first write.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...events import Batch, Event, EventKind, ExecutionState, Position, StoredEvent
from ..base import Appended, Execution
from ..summary import advance, clean, final_excerpt, noticed, unseen
from .connection import connect, inode_of, transaction, translated

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS monitor (id INTEGER PRIMARY KEY, timestamp REAL, kind TEXT, message TEXT)",
    "CREATE INDEX IF NOT EXISTS monitor_kind ON monitor (kind)",
    """CREATE TABLE IF NOT EXISTS progress (
        one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL, summary_version INTEGER NOT NULL,
        seq INTEGER NOT NULL, state TEXT NOT NULL, started_at REAL NOT NULL, finished_at REAL,
        changed_at REAL NOT NULL, locks TEXT NOT NULL, archived INTEGER NOT NULL, epoch INTEGER, "offset" INTEGER,
        modified_at REAL NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS summary (
        one INTEGER PRIMARY KEY CHECK (one = 1), meta TEXT NOT NULL, inputs TEXT NOT NULL, error TEXT,
        final TEXT NOT NULL)""",
)
_NOTICES = "CREATE TABLE IF NOT EXISTS notice (seq INTEGER PRIMARY KEY, kind TEXT NOT NULL)"
"""What somebody outside is still to be told of; made with the first notice."""

_PAGE_EVENTS = 5_000


@dataclass(frozen=True, slots=True)
class Record:
    """What a file says of its execution besides the events.

    Attributes:
        execution: the summary.
        final: searchable beginning of the result.
        position: place in the transport, None when nothing came through one.
        version: rises with every write; 0: never written by us.
        summary_version: ``version`` of the last write that changed meta, inputs, error, result or state.
        modified_at: time of the last write, seconds since the epoch.
        notices: place and kind of every notice that is not settled, for the index; filled where the index is told.
    """

    execution: Execution
    final: str = ""
    position: Position | None = None
    version: int = 0
    summary_version: int = 0
    modified_at: float = 0.0
    notices: tuple[tuple[int, str], ...] = ()


class ExecutionFile:
    """The file of one execution and this process's connection to it, used by one thread at a time.

    Args:
        path: the file. fid: the execution. username: its owner, the name of the folder above.
        notices: note what somebody outside is to be told of.
    """

    def __init__(self, path: Path, fid: str, username: str, *, notices: bool = False) -> None:
        self.path = path
        self._notes = notices
        self.lock = threading.Lock()
        self.users = 0
        self.indexed_version = -1
        self._empty = Record(Execution(fid, username))
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._has_schema = False
        self._cached: Record | None = None

    def append(self, batches: Sequence[Batch]) -> tuple[Appended, Record]:
        """Commits what is new of the batches; makes the file when there is none. See the store's contract."""
        with translated(self.path):
            connection = self._writable()
            with transaction(connection):
                self._ensure_schema(connection)
                before = self._read(connection)
                fresh = unseen(batches, before.position)
                events = clean(event for batch in fresh for event in batch.events)
                after = self._advanced(before, fresh, events)
                stored = after.execution.seq - before.execution.seq
                if fresh:
                    self._insert(connection, before.execution.seq, events[:stored])
                    self._write(connection, before, after)
                if self._notes:
                    self._note(connection, noticed(events[:stored], before.execution.seq))
                # all that wait, not the new ones alone: a process may have died before it told the index
                waiting = _notices(connection) if self._notes else ()
            self._cached = after
        execution = after.execution
        appended = Appended(execution.seq, stored, len(events) - stored, execution.state)
        return appended, replace(after, notices=waiting)

    def archive(self) -> Record:
        """Marks the execution as hidden; idempotent."""
        with translated(self.path):
            connection = self._writable()
            with transaction(connection):
                self._ensure_schema(connection)
                before = after = self._read(connection)
                if not before.execution.archived:
                    after = _touched(replace(before, execution=replace(before.execution, archived=True)), before)
                    self._write(connection, before, after)
                waiting = _notices(connection)
            self._cached = after
        return replace(after, notices=waiting)

    def settle(self, seq: int) -> None:
        """Forgets a notice; a file that isn't there, or has none, stays as it is."""
        with translated(self.path):
            connection = self._readable()
            if connection is not None and _has_table(connection, "notice"):
                connection.execute("DELETE FROM notice WHERE seq = ?", (seq,))

    def record(self) -> Record:
        """What the file says; an empty record when there is none or nothing was committed to it."""
        with translated(self.path):
            connection = self._readable()
            if connection is None:
                return self._empty
            # one snapshot for all the tables
            connection.execute("BEGIN")
            try:
                self._cached = self._read(connection)
                waiting = _notices(connection)
            finally:
                connection.execute("COMMIT")
            return replace(self._cached, notices=waiting)

    def events(self, after: int, last: int, limit: int, kinds: Collection[EventKind] | None) -> list[StoredEvent]:
        """A page of events behind ``after`` up to ``last``."""
        # a place beyond 63 bits can't be bound, and nothing lies behind it
        after, limit = min(max(after, 0), 2**62), min(max(limit, 0), 2**62)
        where, values = "id > ? AND id <= ?", [after, last]
        if kinds is not None:
            names = ",".join(f"'{EventKind(kind).value}'" for kind in kinds)
            where += f" AND +kind IN ({names})"
        return self._select(f"{where} ORDER BY id LIMIT ?", [*values, limit])

    def last_event(self, kind: EventKind, last: int) -> StoredEvent | None:
        """The newest event of a kind up to ``last``."""
        found = self._select("kind = ? AND id <= ? ORDER BY id DESC LIMIT 1", [kind.value, last])
        return found[0] if found else None

    def close(self) -> None:
        """Gives up the connection; the next use opens another."""
        connection, self._connection = self._connection, None
        self._has_schema, self._cached = False, None
        if connection is not None:
            with translated(self.path):
                connection.close()

    def _select(self, where: str, values: Sequence[Any]) -> list[StoredEvent]:
        with translated(self.path):
            connection = self._readable()
            if connection is None or not _has_table(connection, "monitor"):
                return []
            return _stored(connection, where, values)

    def _readable(self) -> sqlite3.Connection | None:
        inode = inode_of(self.path)
        if inode is None:
            self.close()
            return None
        return self._connected(inode, create=False)

    def _writable(self) -> sqlite3.Connection:
        inode = inode_of(self.path)
        if inode is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        return self._connected(inode, create=True)

    def _connected(self, inode: int | None, *, create: bool) -> sqlite3.Connection:
        """The connection to the file that lies there now; what is written to a removed one would be lost."""
        if self._connection is None or inode != self._inode:
            self.close()
            self._connection = connect(self.path, create=create)
            self._inode = inode_of(self.path)
        return self._connection

    def _ensure_schema(self, connection: sqlite3.Connection) -> None:
        if not self._has_schema and not _has_table(connection, "progress"):
            for statement in _SCHEMA:
                connection.execute(statement)

    def _read(self, connection: sqlite3.Connection) -> Record:
        """The record; from memory as long as no other process wrote."""
        if not self._has_schema and not _has_table(connection, "progress"):
            return self._folded(connection)
        row = connection.execute("SELECT * FROM progress").fetchone()
        if row is None:
            return self._folded(connection)
        self._has_schema = True
        cached = self._cached
        if cached is not None and cached.version == row[1]:
            return cached
        return self._parsed(row, connection.execute("SELECT meta, inputs, error, final FROM summary").fetchone())

    def _parsed(self, row: Sequence[Any], large: Sequence[Any] | None) -> Record:
        _, version, summary_version, seq, state, started, finished, changed, locks, archived, epoch, offset, at = row
        meta, inputs, error, final = large or ("{}", "", None, "")
        execution = replace(
            self._empty.execution,
            state=ExecutionState(state),
            seq=seq,
            started_at=started,
            finished_at=finished,
            changed_at=changed,
            meta=json.loads(meta),
            inputs=inputs,
            error=error,
            locks=tuple(json.loads(locks)),
            archived=bool(archived),
        )
        position = None if epoch is None else Position(epoch, offset)
        return Record(execution, final, position, version, summary_version, at)

    def _folded(self, connection: sqlite3.Connection) -> Record:
        """The record of a file that has events only, from those."""
        execution, final, last = self._empty.execution, "", 0
        if not _has_table(connection, "monitor"):
            return self._empty
        while events := _stored(connection, "id > ? ORDER BY id LIMIT ?", [last, _PAGE_EVENTS]):
            execution, final, last = advance(execution, events), final_excerpt(events, final), events[-1].seq
        # all of its rows are its events, also those that an earlier version wrote after the end
        return Record(replace(execution, seq=last), final, modified_at=execution.changed_at)

    def _advanced(self, before: Record, fresh: Sequence[Batch], events: list[Event]) -> Record:
        if not fresh:
            return before
        execution = advance(before.execution, events)
        stored = events[: execution.seq - before.execution.seq]
        after = replace(
            before,
            execution=execution,
            final=final_excerpt(stored, before.final),
            position=fresh[-1].position,
        )
        return _touched(after, before)

    def _insert(self, connection: sqlite3.Connection, seq: int, events: list[Event]) -> None:
        connection.executemany(
            "INSERT INTO monitor (id, timestamp, kind, message) VALUES (?, ?, ?, ?)",
            [(seq + n, event.timestamp, event.kind.value, event.payload) for n, event in enumerate(events, 1)],
        )

    def _note(self, connection: sqlite3.Connection, found: Sequence[tuple[int, str]]) -> None:
        if found:
            connection.execute(_NOTICES)
            connection.executemany("INSERT OR IGNORE INTO notice (seq, kind) VALUES (?, ?)", found)

    def _write(self, connection: sqlite3.Connection, before: Record, after: Record) -> None:
        execution, position = after.execution, after.position
        connection.execute(
            "REPLACE INTO progress VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                after.version,
                after.summary_version,
                execution.seq,
                execution.state.value,
                execution.started_at,
                execution.finished_at,
                execution.changed_at,
                json.dumps(execution.locks),
                execution.archived,
                position.epoch if position else None,
                position.offset if position else None,
                after.modified_at,
            ),
        )
        if after.summary_version == after.version:
            connection.execute(
                "REPLACE INTO summary VALUES (1, ?, ?, ?, ?)",
                (json.dumps(execution.meta), execution.inputs, execution.error, after.final),
            )


def _touched(after: Record, before: Record) -> Record:
    """``after`` as the next version of ``before``."""
    version = before.version + 1
    same = before.version > 0 and _large_part(before) == _large_part(after)
    return replace(
        after,
        version=version,
        summary_version=before.summary_version if same else version,
        modified_at=max(time.time(), before.modified_at),
    )


def _large_part(record: Record) -> tuple[object, ...]:
    execution = record.execution
    return execution.state, execution.meta, execution.inputs, execution.error, record.final


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone()
    return found is not None


def _notices(connection: sqlite3.Connection) -> tuple[tuple[int, str], ...]:
    if not _has_table(connection, "notice"):
        return ()
    return tuple(connection.execute("SELECT seq, kind FROM notice ORDER BY seq").fetchall())


def _stored(connection: sqlite3.Connection, where: str, values: Sequence[Any]) -> list[StoredEvent]:
    query = f"SELECT id, kind, timestamp, message FROM monitor WHERE {where}"  # noqa: S608 (our own text)
    try:
        rows = connection.execute(query, values).fetchall()
    except sqlite3.OperationalError as exc:
        if "decode" not in str(exc):
            raise
        # text of earlier versions that isn't UTF-8 is shown with replacement characters
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        rows = connection.execute(query, values).fetchall()
    return [as_stored(row) for row in rows]


def as_stored(row: Sequence[Any]) -> StoredEvent:
    """The event of a row ``id, kind, timestamp, message``, whatever an earlier version put into it."""
    seq, kind, at, message = row
    return StoredEvent(seq, _kind(kind), _number(at), _text(message))


_KINDS = {kind.value: kind for kind in EventKind}


def _kind(text: object) -> EventKind:
    """The kind; one that earlier versions knew alone is shown as ``debug``, so that ``seq`` has no gap."""
    return _KINDS.get(text, EventKind.DEBUG) if isinstance(text, str) else EventKind.DEBUG


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
