"""Keeps the index in step with the files: makes it, mends it after a crash, and replaces it when it's damaged.

Whoever opens the index first reads again what may be behind: rows marked as living, and users' folders that changed.
A file lock lets one process do so at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...error import StoreError, StoreUnavailable
from . import schema
from .connection import DamagedFile, connect, inode_of, transaction, translated
from .file import ExecutionFile, Record
from .index import Index
from .names import DATABASE, INDEX, folder_of, subfolders

logger = logging.getLogger(__name__)

_ADOPT_AT_ONCE = 500
_RETRY_S = 15.0
_UNBORN_S = 3_600.0
"""A row whose execution has not come into being for so long is dropped."""


class IndexKeeper:
    """Gives the index in its present form.

    Args:
        exec_dir: folder of all executions.
    """

    def __init__(self, exec_dir: Path) -> None:
        self._exec_dir = exec_dir
        self._path = exec_dir / INDEX
        self._index: Index | None = None
        self._retired: list[Index] = []
        self._mend_at: float | None = None
        self._incomplete = False
        self._lock = threading.Lock()

    def index(self, *, create: bool) -> Index | None:
        """The index; None when there is no execution and none is to be made.

        Raises:
            StoreUnavailable: it can't be opened now.
        """
        index = self._index
        if index is not None and self._mend_at is None and self.is_current(index):
            return index
        with self._lock:
            return self._present(create)

    def is_current(self, index: Index) -> bool:
        """Whether the index is still the one on disk; another process may have replaced a damaged one."""
        return inode_of(self._path) == index.inode

    def set_aside(self, index: Index) -> None:
        """Takes a damaged index out of the way, for whoever wants to look at it; the next use makes a new one."""
        with self._lock, translated(self._path), self._alone():
            if self.is_current(index):
                _rename_damaged(self._path)

    def close(self) -> None:
        """Closes every connection; nobody may be using one."""
        with self._lock:
            indexes = [*self._retired, *([self._index] if self._index else [])]
            self._index, self._retired = None, []
        for index in indexes:
            index.close()

    def _present(self, create: bool) -> Index | None:
        index = self._index
        if index is not None and not self.is_current(index):
            # other threads may still be using it
            self._retired.append(index)
            index = self._index = None
        if index is None:
            with translated(self._path):
                if not create and inode_of(self._path) is None and next(subfolders(self._exec_dir), None) is None:
                    return None
            with translated(self._path), self._alone():
                return self._opened()
        if self._mend_at is not None and time.monotonic() >= self._mend_at:
            with translated(self._path), self._alone():
                return self._mended(index)
        return index

    def _opened(self) -> Index:
        try:
            self._prepare()
        except DamagedFile:
            _rename_damaged(self._path)
            self._prepare()
        return self._mended(Index(self._path, inode_of(self._path) or 0))

    def _prepare(self) -> None:
        """Makes our tables where there are none."""
        with translated(self._path), contextlib.closing(connect(self._path, create=True)) as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if version == 0 and tables == 0:
                with transaction(connection):
                    for statement in schema.SCHEMA:
                        connection.execute(statement)
            elif version != schema.VERSION:
                raise DamagedFile(self._path, f"its version is {version}, not {schema.VERSION}")
            else:
                for name, statements in (("notice_due", schema.NOTICES), ("execution_ended", schema.ENDED)):
                    _add(connection, name, statements)

    def _mended(self, index: Index) -> Index:
        """The index brought up to the files as far as possible; a new one when it turns out to be damaged."""
        try:
            self._mend(index)
        except DamagedFile as exc:
            self._retired.append(index)
            self._index = None
            if exc.path != self._path:
                raise
            _rename_damaged(self._path)
            self._prepare()
            index = Index(self._path, inode_of(self._path) or 0)
            self._mend(index)
        self._index = index
        return index

    def _mend(self, index: Index) -> None:
        self._incomplete = False
        try:
            with translated(self._exec_dir):
                self._mend_living(index)
                for username in subfolders(self._exec_dir):
                    self._mend_folder(index, username)
        except StoreUnavailable as exc:
            # a full disk must not keep anyone from reading
            logger.warning("the index of executions may be behind, it is mended later: %s", exc)
            self._incomplete = True
        self._mend_at = time.monotonic() + _RETRY_S if self._incomplete else None

    def _mend_living(self, index: Index) -> None:
        """Reads again what a process may have committed before it died, without telling the index."""
        for fid, username, version, seq, modified_at in index.marked_live():
            record = self._record(username, fid)
            if record is None:
                if (folder_of(self._exec_dir, username, fid) / DATABASE).exists():
                    continue
                if seq > 0 or modified_at < time.time() - _UNBORN_S:
                    logger.warning("execution %s has no events on disk, it's taken off the index", fid)
                    index.forget(fid)
            elif record.version > version or record.execution.seq > seq:
                index.put(record)

    def _mend_folder(self, index: Index, username: str) -> None:
        """Takes in a user's executions that the index doesn't know, and drops those whose folder is gone."""
        folder = self._exec_dir / username
        mtime_ns = folder.stat().st_mtime_ns
        if index.noted_folders().get(username) == mtime_ns:
            return
        # the folder before the rows: every execution has its row first
        present = set(subfolders(folder))
        rows = index.fids(username)
        self._adopt(index, username, sorted(present - rows.keys()))
        for fid in rows.keys() - present:
            if rows[fid] == Index.COMMITTED and not folder_of(self._exec_dir, username, fid).exists():
                index.forget(fid)
        for fid in present & rows.keys():
            if rows[fid] == Index.PURGED:
                remove_folder(folder_of(self._exec_dir, username, fid))
        if not self._incomplete and time.time_ns() - mtime_ns > 2_000_000_000:
            # younger than that, a further change might leave the same time behind
            index.note_folder(username, mtime_ns)

    def _adopt(self, index: Index, username: str, fids: list[str]) -> None:
        for start in range(0, len(fids), _ADOPT_AT_ONCE):
            chunk = fids[start : start + _ADOPT_AT_ONCE]
            records = [self._record(username, fid) for fid in chunk]
            index.adopt([record for record in records if record is not None])
            logger.info("indexed %d of %d executions of %s", start + len(chunk), len(fids), username)

    def _record(self, username: str, fid: str) -> Record | None:
        """What an execution's file says; None when there is none, or nothing in it, or it can't be read.

        With a connection of its own: a thread that holds the file may be waiting for the index.
        """
        file = ExecutionFile(folder_of(self._exec_dir, username, fid) / DATABASE, fid, username)
        try:
            record = file.record()
            file.close()
        except StoreUnavailable as exc:
            logger.warning("left out of the index for now: %s", exc)
            self._incomplete = True
        except (StoreError, ValueError, TypeError) as exc:
            # one execution's damaged file is that execution's trouble alone
            logger.warning("execution %s is left out of the index: %s", fid, exc)
        else:
            return record if record.execution.seq > 0 else None
        return None

    @contextlib.contextmanager
    def removing(self) -> Iterator[bool]:
        """Whether no other process, and no other store, is removing executions; holds until it's left."""
        path = Path(f"{self._path}.expire.lock")
        with translated(path):
            if not self._exec_dir.exists():
                yield False
                return
            with path.open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                    return
                yield True

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Waits until no other process opens, mends or replaces the index."""
        self._exec_dir.mkdir(parents=True, exist_ok=True)
        with Path(f"{self._path}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def remove_folder(folder: Path) -> None:
    """Removes an execution's folder with all that is in it; one that isn't there is fine.

    Raises:
        OSError: it can't be removed.
    """
    for last in (False, False, True):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            if not folder.exists():
                return
        except OSError:
            # a reader in another process may have made a file again while we were removing
            if last:
                raise
        else:
            return


def _add(connection: sqlite3.Connection, name: str, statements: Sequence[str]) -> None:
    """Adds what is younger than the rest of the index's version; ``name`` is there when all of it is."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,)).fetchone():
        with transaction(connection):
            for statement in statements:
                connection.execute(statement)


def _rename_damaged(path: Path) -> None:
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    logger.warning("the index of executions could not be used; it is kept as %s and made anew", aside)
