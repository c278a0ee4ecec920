"""The index of all executions: what lists, searches, counts and changes read, so that none of them reads a folder.

Derived from the executions' files. Each write is a transaction of its own behind the commit of the file it tells of;
version numbers keep an older state from replacing a newer one, in whatever order processes come.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ...events import ExecutionState
from ..base import Execution, ExecutionChange, Notice, NoticeKind, Tally
from ..summary import search_text
from . import schema
from .connection import connect, transaction, translated
from .file import Record

SMALLEST_STEP_S = 1e-6
TOMBSTONE_S = 7 * 86_400.0
"""How long a removed execution is remembered: longer than a transport may deliver its events again."""

MIN_WORD = 3
"""Shortest text that trigrams can find."""

SCAN_ROWS = 2_000
"""Newest rows that a search looks through before it asks the trigrams: common words are found there."""


class Owner(NamedTuple):
    """What the index says of an id: its owner, whether something is committed or purged, the last event."""

    username: str
    known: bool
    purged: bool
    state: ExecutionState
    seq: int


class Index:
    """Connections of this process to ``index.db``, one per thread. The file exists and has our tables.

    Args:
        path: the file. inode: which file that was when it was opened.
    """

    UNBORN, COMMITTED, PURGED = range(3)

    def __init__(self, path: Path, inode: int) -> None:
        self.path = path
        self.inode = inode
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._writing = threading.Lock()

    # writing -------------------------------------------------------------------------------------------------------

    def begin(self, fid: str, username: str) -> None:
        """Marks an execution as living before its file exists, so that no crash can hide it."""
        with self._transaction() as connection:
            connection.execute(schema.INSERT_NEW, (fid, username, _tick(connection)))

    def put(self, record: Record, *, known_version: int = -1) -> None:
        """Brings an execution's row up to its file; older records and removed executions are ignored.

        Args:
            record: what the file says. known_version: version of the record that the index surely has.
        """
        whole = record.summary_version > known_version
        values = _values(record)
        details = _details(record) if whole else {}
        with self._transaction() as connection:
            values["modified_at"] = _tick(connection)
            _put(connection, record, values)
            if whole:
                connection.execute(schema.PUT_DETAIL, details)

    def adopt(self, records: Collection[Record]) -> None:
        """Takes in executions found on disk, with the times of their last change."""
        with self._transaction() as connection:
            for record in records:
                values = _values(record)
                values["modified_at"] = _free_moment(connection, record.modified_at)
                _put(connection, record, values)
                connection.execute(schema.PUT_DETAIL, _details(record))

    def mark_purged(self, fid: str) -> None:
        """Takes an execution out of every list for good; a short row stays for a while and keeps late events out."""
        with self._transaction() as connection:
            now = _tick(connection)
            connection.execute("DELETE FROM detail WHERE id = (SELECT id FROM execution WHERE fid = ?)", (fid,))
            connection.execute("DELETE FROM notice WHERE fid = ?", (fid,))
            connection.execute(
                "UPDATE execution SET purged = 1, archived = 1, listed = 0, live = 0, modified_at = ? WHERE fid = ?",
                (now, fid),
            )
            # so that the next one who opens the index removes what a crash leaves of the files
            connection.execute(
                "DELETE FROM folder WHERE username = (SELECT username FROM execution WHERE fid = ?)", (fid,)
            )

    def forget_purged(self) -> None:
        """Drops the rows of executions that were removed long ago."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM execution WHERE archived = 1 AND purged = 1 AND modified_at < ?",
                (time.time() - TOMBSTONE_S,),
            )

    def forget(self, fid: str) -> None:
        """Drops the row of an execution that has no file."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM detail WHERE id = (SELECT id FROM execution WHERE fid = ?)", (fid,))
            connection.execute("DELETE FROM execution WHERE fid = ?", (fid,))

    def probe(self) -> None:
        """Writes something small."""
        with self._transaction() as connection:
            connection.execute("REPLACE INTO probe VALUES (1, ?)", (time.time(),))

    def claim_notices(self, limit: int, lease_s: float) -> list[Notice]:
        """Claims notices that are due. See the store's contract."""
        now = time.time()
        # a look first: whoever only sweeps needs no write
        if not self._rows(schema.DUE_NOTICES, (now, min(limit, 1))):
            return []
        with self._transaction() as connection:
            rows = connection.execute(schema.DUE_NOTICES, (now, limit)).fetchall()
            claims = [(now + lease_s, now, fid, seq) for fid, seq, *_ in rows]
            connection.executemany(schema.CLAIM_NOTICE, claims)
        return [
            Notice(fid, seq, NoticeKind(kind), tries + 1, 0.0 if tried_at is None else max(0.0, now - tried_at))
            for fid, seq, kind, tries, tried_at in rows
        ]

    def settle_notice(self, notice: Notice) -> None:
        """Forgets a notice."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM notice WHERE fid = ? AND seq = ?", (notice.fid, notice.seq))

    def defer_notice(self, notice: Notice, pause_s: float) -> None:
        """Makes a notice due again in so many seconds."""
        values = (time.time() + pause_s, notice.fid, notice.seq)
        with self._transaction() as connection:
            connection.execute("UPDATE notice SET due_at = ? WHERE fid = ? AND seq = ?", values)

    def waiting_notices(self) -> int:
        """How many notices are not settled."""
        return int(self._rows("SELECT count(*) FROM notice", ())[0][0])

    def note_folder(self, username: str, mtime_ns: int) -> None:
        """Remembers when a user's folder was compared with the index."""
        with self._transaction() as connection:
            connection.execute("REPLACE INTO folder VALUES (?, ?)", (username, mtime_ns))

    # reading -------------------------------------------------------------------------------------------------------

    def owner(self, fid: str) -> Owner | None:
        """Who owns an execution, or None when the id is unknown."""
        query = "SELECT username, seq > 0 OR version > 0, purged, state, seq FROM execution WHERE fid = ?"
        for username, known, purged, state, seq in self._rows(query, (fid,)):
            return Owner(username, bool(known), bool(purged), ExecutionState(state), seq)
        return None

    def execution(self, fid: str) -> Execution | None:
        """The summary of one execution, or None when it is unknown or removed."""
        found = self._executions("execution.fid = ? AND purged = 0 AND seq > 0", [fid])
        return found[0] if found else None

    def count(self, username: str | None) -> int:
        """How many executions are listed."""
        if username == "":
            return 0
        rows = self._rows("SELECT listed FROM tally WHERE username = ?", (username or "",))
        return int(rows[0][0]) if rows else 0

    def tally(self) -> Tally:
        """How many executions live, by the state they show, and how many have ended."""
        living = {ExecutionState(state): count for state, count in self._rows(schema.LIVING, ())}
        return Tally(living, {ExecutionState(state): runs for state, runs in self._rows("SELECT * FROM ended", ())})

    def page(
        self, username: str | None, query: str, before: str | None, after: str | None, limit: int
    ) -> list[Execution]:
        """Listed executions, newest first. See the store's contract."""
        where, values = _listed(username, before, after)
        order = "ORDER BY execution.fid DESC LIMIT ?"
        if not query:
            return self._executions(f"{where} {order}", [*values, limit])
        if len(query) < MIN_WORD:
            return self._executions(f"{where} AND instr(search, ?) {order}", [*values, query, limit])
        return self._search(username, query, before, after, limit)

    def changes(self, since: float, username: str | None, query: str, limit: int) -> list[ExecutionChange]:
        """Changed executions, oldest change first. See the store's contract."""
        where = "modified_at > ? AND seq > 0"
        values: list[Any] = [since]
        if username is not None:
            where, values = f"{where} AND username = ?", [*values, username]
        if query:
            where, values = f"{where} AND (archived = 1 OR instr(search, ?))", [*values, query]
        rows = self._select(f"{where} ORDER BY modified_at LIMIT ?", [*values, limit])
        return [ExecutionChange(_execution(row), row[-1]) for row in rows]

    def live(self) -> list[Execution]:
        """Executions without an end, oldest first."""
        return self._executions("live = 1 AND seq > 0 ORDER BY execution.fid", [])

    def marked_live(self) -> list[tuple[str, str, int, int, float]]:
        """``fid, username, version, seq, modified_at`` of every row that may be behind its file."""
        return self._rows("SELECT fid, username, version, seq, modified_at FROM execution WHERE live = 1", ())

    def archived(self, older_than: float) -> list[Execution]:
        """Hidden executions that were last changed before."""
        where = "archived = 1 AND purged = 0 AND seq > 0 AND modified_at < ? ORDER BY modified_at"
        return self._executions(where, [older_than])

    def expired(self, before: float, limit: int) -> list[tuple[str, str]]:
        """``username, fid`` of executions that ended before, oldest first."""
        query = (
            "SELECT username, fid FROM execution WHERE live = 0 AND purged = 0 AND finished_at < ? "
            "ORDER BY finished_at LIMIT ?"
        )
        return self._rows(query, (before, limit))

    def purged(self) -> list[tuple[str, str]]:
        """``username, fid`` of every execution that was removed and is still remembered."""
        return self._rows("SELECT username, fid FROM execution WHERE archived = 1 AND purged = 1", ())

    def fids(self, username: str) -> dict[str, int]:
        """Every id of a user that has a row, and whether it is ``UNBORN``, ``COMMITTED`` or ``PURGED``."""
        query = "SELECT fid, CASE WHEN purged THEN 2 ELSE seq > 0 END FROM execution WHERE username = ?"
        return dict(self._rows(query, (username,)))

    def noted_folders(self) -> dict[str, int]:
        """User folders and their modification times when they were last compared with the index."""
        return dict(self._rows("SELECT username, mtime_ns FROM folder", ()))

    def close(self) -> None:
        """Closes the connections of all threads; none may be using one."""
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()
        self._local = threading.local()

    def _search(
        self, username: str | None, query: str, before: str | None, after: str | None, limit: int
    ) -> list[Execution]:
        """A page by words: the newest rows one by one, then the living ones and what the trigrams find, in order."""
        where, values = _listed(username, before, after)
        window = self._rows(
            f"SELECT execution.fid, instr(search, ?) FROM {schema.SOURCE} WHERE {where} "  # noqa: S608
            "ORDER BY execution.fid DESC LIMIT ?",
            (query, *values, SCAN_ROWS),
        )
        fids = [fid for fid, place in window if place][:limit]
        if len(fids) < limit and len(window) == SCAN_ROWS:
            fids += self._search_below(username, query, window[-1][0], after, limit - len(fids))
        marks = ",".join("?" * len(fids))
        return self._executions(f"execution.fid IN ({marks}) ORDER BY execution.fid DESC", fids)

    def _search_below(self, username: str | None, query: str, before: str, after: str | None, limit: int) -> list[str]:
        where, values = _listed(username, before, after)
        # quoted for FTS5: a phrase, so that the trigrams must stand side by side
        phrase = '"' + query.replace('"', '""') + '"'
        rows = self._rows(
            f"SELECT execution.fid FROM words CROSS JOIN execution ON execution.id = words.rowid "  # noqa: S608
            f"CROSS JOIN detail ON detail.id = execution.id "
            f"WHERE words MATCH ? AND {where} AND instr(detail.search, ?) "
            "UNION SELECT execution.fid FROM execution INDEXED BY execution_live "
            f"CROSS JOIN detail ON detail.id = execution.id WHERE live = 1 AND {where} AND instr(search, ?) "
            "ORDER BY 1 DESC LIMIT ?",
            (phrase, *values, query, *values, query, limit),
        )
        return [fid for (fid,) in rows]

    def _executions(self, where: str, values: Sequence[Any]) -> list[Execution]:
        return [_execution(row) for row in self._select(where, values)]

    def _select(self, where: str, values: Sequence[Any]) -> list[Any]:
        return self._rows(f"SELECT {schema.COLUMNS} FROM {schema.SOURCE} WHERE {where}", values)  # noqa: S608

    def _rows(self, query: str, values: Sequence[Any]) -> list[Any]:
        with translated(self.path):
            return self._connection().execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # threads of one process wait here rather than in SQLite, which sleeps between its attempts
        with self._writing, translated(self.path):
            connection = self._connection()
            with transaction(connection):
                yield connection

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = connect(self.path, create=False)
            self._local.connection = connection
            self._connections.append(connection)
        return connection


def _put(connection: sqlite3.Connection, record: Record, values: dict[str, Any]) -> None:
    """Writes the row; its notices when the row was behind: else they are here, or were here and are settled."""
    if connection.execute(schema.PUT_EXECUTION, values).rowcount and record.notices:
        now, fid = time.time(), record.execution.fid
        connection.executemany(schema.INSERT_NOTICE, [(fid, seq, kind, now) for seq, kind in record.notices])


def _listed(username: str | None, before: str | None, after: str | None) -> tuple[str, list[Any]]:
    parts: list[tuple[str, str | None]] = [
        ("username = ?", username),
        ("execution.fid < ?", before),
        ("execution.fid > ?", after),
    ]
    given = [(text, value) for text, value in parts if value is not None]
    return " AND ".join(["listed = 1", *(text for text, _ in given)]), [value for _, value in given]


def _values(record: Record) -> dict[str, Any]:
    execution = record.execution
    return {
        "fid": execution.fid,
        "username": execution.username,
        "version": record.version,
        "seq": execution.seq,
        "state": execution.state.value,
        "started_at": execution.started_at,
        "finished_at": execution.finished_at,
        "changed_at": execution.changed_at,
        "locks": json.dumps(execution.locks),
        "archived": execution.archived,
        "live": not execution.state.terminal,
        "listed": not execution.archived and execution.seq > 0,
    }


def _details(record: Record) -> dict[str, Any]:
    execution = record.execution
    return {
        "fid": execution.fid,
        "summary_version": record.summary_version,
        "ended": execution.state.terminal,
        "meta": json.dumps(execution.meta),
        "search": search_text(execution, record.final).casefold(),
        "error": execution.error,
        "inputs": execution.inputs,
    }


def _execution(row: Sequence[Any]) -> Execution:
    fid, username, state, seq, started, finished, changed, meta, inputs, error, locks, archived, _ = row
    return Execution(
        fid=fid,
        username=username,
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


def _tick(connection: sqlite3.Connection) -> float:
    """The store's clock: now, and later than every earlier tick, in whatever process."""
    last = connection.execute("SELECT max(modified_at) FROM execution").fetchone()[0] or 0.0
    return float(max(time.time(), last + SMALLEST_STEP_S))


def _free_moment(connection: sqlite3.Connection, moment: float) -> float:
    """The moment, or the next one that no row has: two with the same could be torn apart by a page's end."""
    # a time in the future would drag the store's clock along
    moment = max(0.0, min(moment, time.time()))
    while connection.execute("SELECT 1 FROM execution WHERE modified_at = ?", (moment,)).fetchone():
        moment += SMALLEST_STEP_S
    return moment
