"""The reading side: executions in a folder, part by part, without leaving a trace in it.

A file is read as it lies there, never locked, recovered or checkpointed, so a copy on a read-only medium works like the
folder itself. Where changes still lie in a log beside the file, a copy of both in a temporary folder is read instead.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from ...events import TERMINAL_STATES, Event, Position
from ...store import Execution
from ...store.sqlite.file import as_stored
from ...store.sqlite.names import DATABASE, is_safe
from ...store.summary import advance, clean, final_excerpt

PART_EVENTS = 10_000
PART_CHARS = 8_000_000
"""A part ends with the event that reaches either bound."""

LOGS = ("-wal", "-journal")


class Reason(StrEnum):
    """Why an execution isn't imported, in the words of the summary."""

    ALIVE = "not ended: wait, or start kodosumi on the folder once more (it ends what was lost), then import again"
    WRITTEN = "written while it was read: end what writes it, then import again"
    DAMAGED = "damaged or unreadable: restore it from a backup, or see to it that it may be read"
    FOREIGN = f"no execution: no {DATABASE} with events in it"
    DIFFERENT = "in the database with other content"
    REMOVED = "removed from the database earlier"


class Skipped(NamedTuple):
    """A folder that isn't imported.

    Attributes:
        path: the folder. reason: why. detail: what the driver or the system said, "" when the reason says all.
    """

    path: Path
    reason: Reason
    detail: str = ""


class Summary(NamedTuple):
    """What a whole execution comes to.

    Attributes:
        execution: the summary, in step with all its events.
        final: the searchable beginning of its result.
        position: its place in the transport, None for an older layout.
    """

    execution: Execution
    final: str
    position: Position | None


class Part(NamedTuple):
    """The next events of an execution.

    Attributes:
        path: its folder. fid: its id. username: its owner.
        after: how many events came before. events: these; the first has the place ``after + 1``.
        summary: with the last part only.
    """

    path: Path
    fid: str
    username: str
    after: int
    events: list[Event]
    summary: Summary | None


def count(folder: Path) -> int:
    """How many folders :func:`parts` will tell of."""
    return sum(1 for _ in _executions(folder))


def parts(folder: Path) -> Generator[Part | Skipped]:
    """All executions of a folder, each as parts in order, the last one with its summary, or as skipped.

    An execution that turns out to be damaged half-way is told of as skipped after its first parts.

    Raises:
        OSError: the folder itself can't be read, or there is no room for a temporary copy.
    """
    for path in _executions(folder):
        try:
            yield from _parts(path)
        except _Skip as exc:
            yield Skipped(path, exc.reason, exc.detail)


def _executions(folder: Path) -> Iterator[Path]:
    """What lies two folders deep; links are not followed, as they may lead anywhere."""
    for user in _folders(folder):
        try:
            yield from _folders(user)
        except PermissionError:
            yield user / "?"


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


class _Skip(Exception):
    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def _parts(path: Path) -> Iterator[Part]:
    file = path / DATABASE
    try:
        before = _stamp(file)
        if before[0] is None or not (is_safe(path.name) and is_safe(path.parent.name)):
            raise _Skip(Reason.FOREIGN)
        with _opened(file) as connection:
            for part in _read(connection, path):
                if part.summary is not None and _stamp(file) != before:
                    raise _Skip(Reason.WRITTEN)
                yield part
    except sqlite3.Error as exc:
        reason = Reason.DAMAGED if _stamp(file) == before else Reason.WRITTEN
        raise _Skip(reason, str(exc)) from exc
    except PermissionError as exc:
        raise _Skip(Reason.DAMAGED, exc.strerror or "") from exc
    except FileNotFoundError as exc:
        raise _Skip(Reason.WRITTEN) from exc


def _stamp(file: Path) -> tuple[tuple[int, int, int] | None, ...]:
    """What changes when somebody writes the file or the logs beside it."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in (file, *(file.with_name(file.name + suffix) for suffix in LOGS)):
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            stamps.append(None)
        else:
            stamps.append((found.st_ino, found.st_size, found.st_mtime_ns))
    return tuple(stamps)


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    logs = [log for suffix in LOGS if (log := file.with_name(file.name + suffix)).exists() and log.stat().st_size]
    if not logs:
        # "immutable" keeps SQLite from making files of its own beside it
        with closing(_connection(f"{file.absolute().as_uri()}?mode=ro&immutable=1")) as connection:
            yield connection
        return
    with tempfile.TemporaryDirectory(prefix="kodosumi-import-") as scratch:
        for source in (file, *logs):
            shutil.copyfile(source, Path(scratch, source.name))
        with closing(_connection(Path(scratch, file.name).as_uri())) as connection:
            yield connection


def _connection(uri: str) -> sqlite3.Connection:
    # each part may be read by another thread, one at a time
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def _read(connection: sqlite3.Connection, path: Path) -> Iterator[Part]:
    _require_ended(connection)
    fid, username = path.name, path.parent.name
    archived, position, known = _progress(connection)
    execution, final, after, last = Execution(fid, username), "", 0, -(2**63)
    while True:
        events, last, more = _page(connection, last)
        execution, final = advance(execution, events), final_excerpt(events, final)
        if more:
            yield Part(path, fid, username, after, events, None)
            after += len(events)
            continue
        total = after + len(events)
        if known is not None and known != total:
            raise _Skip(Reason.DAMAGED, f"{total} of {known} events")
        # All its rows are its events, also those that an earlier version wrote after the end.
        execution = replace(execution, seq=total, archived=archived)
        yield Part(path, fid, username, after, events, Summary(execution, final, position))
        return


def _require_ended(connection: sqlite3.Connection) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "monitor" not in tables or connection.execute("SELECT 1 FROM monitor LIMIT 1").fetchone() is None:
        raise _Skip(Reason.FOREIGN)
    states = ", ".join(f"'{state.value}'" for state in TERMINAL_STATES)
    query = f"SELECT 1 FROM monitor WHERE kind = 'status' AND message IN ({states}) LIMIT 1"  # noqa: S608 (our own)
    if connection.execute(query).fetchone() is None:
        raise _Skip(Reason.ALIVE)


def _progress(connection: sqlite3.Connection) -> tuple[bool, Position | None, int | None]:
    """Whether it's archived, its place in the transport and how many events it has; an older layout knows none."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'progress'").fetchone() is None:
        return False, None, None
    row = connection.execute('SELECT archived, epoch, "offset", seq FROM progress').fetchone()
    if row is None:
        return False, None, None
    archived, epoch, offset, seq = row
    return bool(archived), None if epoch is None else Position(epoch, offset), seq


def _page(connection: sqlite3.Connection, last: int) -> tuple[list[Event], int, bool]:
    """The events behind a row id up to the bounds of a part, the last one's row id, and whether more may follow."""
    try:
        return _bounded(connection, last)
    except sqlite3.OperationalError as exc:
        if "decode" not in str(exc):
            raise
        # text of earlier versions that isn't UTF-8 is kept with replacement characters
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        return _bounded(connection, last)


def _bounded(connection: sqlite3.Connection, last: int) -> tuple[list[Event], int, bool]:
    events: list[Event] = []
    chars = 0
    with closing(
        connection.execute("SELECT id, kind, timestamp, message FROM monitor WHERE id > ? ORDER BY id", [last])
    ) as rows:
        for row in rows:
            last, kind, timestamp, payload = as_stored(row)
            events.append(Event(kind, timestamp, payload))
            chars += len(payload)
            if len(events) >= PART_EVENTS or chars >= PART_CHARS:
                return clean(events), last, True
    return clean(events), last, False
