"""Opening SQLite files, transactions, and the border at which the driver's errors become ours."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from ...error import StoreError, StoreUnavailable

BUSY_TIMEOUT_S = 10.0
"""Longest wait for another process's transaction."""

_BUSY_PAUSE_S = 0.01
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REASONS = {
    sqlite3.SQLITE_FULL: "no space is left on the device",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_PERM: "access is denied",
    sqlite3.SQLITE_BUSY: "another process holds it locked",
    sqlite3.SQLITE_LOCKED: "another process holds it locked",
    sqlite3.SQLITE_IOERR: "reading or writing it fails",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened",
    sqlite3.SQLITE_PROTOCOL: "it cannot be locked",
    sqlite3.SQLITE_NOMEM: "no memory is left",
}


class DamagedFile(StoreError):
    """A file whose content is no SQLite database, or a broken one; waiting doesn't help.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is damaged ({reason}): restore it from a backup or remove it.")
        self.path = path


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raises what the driver and the operating system say of ``path`` as our errors, the cause kept.

    Raises:
        StoreUnavailable: trying again later may help. DamagedFile: it doesn't.
    """
    try:
        yield
    except sqlite3.Error as exc:
        raise _translate(exc, path) from exc
    except OSError as exc:
        reason = "no space is left on the device" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else str(exc)
        raise StoreUnavailable(f"{path} cannot be used: {reason}.") from exc


def _translate(exc: sqlite3.Error, path: Path) -> StoreError:
    code = getattr(exc, "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if primary in _DAMAGED:
        return DamagedFile(path, str(exc))
    if primary is None or primary not in _REASONS:
        return StoreError(f"{path} cannot be used: {exc}.")
    if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _is_full(path):
        # SQLite reports a full disk as an I/O error where it maps files into memory
        primary = sqlite3.SQLITE_FULL
    return StoreUnavailable(f"{path} cannot be used: {_REASONS[primary]} ({exc}).")


def _is_full(path: Path) -> bool:
    """Whether the file system of a path has not even room for a small file."""
    for folder in path.parents:
        with contextlib.suppress(OSError):
            figures = os.statvfs(folder)
            return figures.f_bavail * figures.f_frsize < 65_536 or (figures.f_files > 0 and figures.f_favail == 0)
    return False


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """A connection in autocommit mode, in WAL mode when the file is ours to write.

    Durable against the death of any process; after a loss of power the last moments may be missing, never a part
    of a transaction.

    Args:
        path: the file. create: make it when it doesn't exist.
    """
    mode = "rwc" if create else "rw"
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        if create and connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            _to_wal(connection)
        connection.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _to_wal(connection: sqlite3.Connection) -> None:
    """Changes a new file to WAL mode; SQLite itself doesn't wait when another process does so at the same time."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as exc:
            if (exc.sqlite_errorcode & 0xFF) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_BUSY_PAUSE_S)


def inode_of(path: Path) -> int | None:
    """Which file a path names now, None when none: tells that the one we hold open was removed or replaced."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 (asked with every call, and a Path is slow)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """A write transaction from the first statement on, so that what is read in it stays true; all or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            # the first error says why; a failing rollback leaves nothing more to say
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
