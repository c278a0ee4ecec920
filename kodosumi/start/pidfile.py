"""A file that says which process does a job; alive as long as that process holds its lock, whatever its number."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from ..config import Settings

LOOKS, LOOK_S = 100, 0.02


def spooler_pidfile(settings: Settings) -> Path:
    """Where the spooler of these settings leaves its process id: beside the executions' folder."""
    return settings.exec_dir.absolute().parent / "spooler.pid"


class PidFile:
    """Holds a pid file while the context lasts; a second holder of the same file goes on without it.

    Args:
        path: the file; its folder is made when missing.

    Attributes:
        held: whether this process is the one that the file names.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self.held = False

    def __enter__(self) -> PidFile:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+", encoding="ascii")
        self.held = self._acquire(self._file)
        if self.held:
            self._file.truncate(0)
            self._file.write(str(os.getpid()))
            self._file.flush()
        return self

    @staticmethod
    def _acquire(file: IO[str]) -> bool:
        # Who only looks holds the lock for a moment; that must not cost us the file.
        for _ in range(LOOKS):
            if _lock(file, fcntl.LOCK_EX):
                return True
            time.sleep(LOOK_S)
        return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            if self.held:
                # Emptied, not removed: removing would let two processes each lock a file of this name.
                with suppress(OSError):
                    self._file.truncate(0)
            self._file.close()


def living_pid(path: Path) -> int | None:
    """The process that holds the file, or None when nobody does."""
    try:
        with path.open("r+", encoding="ascii") as file:
            # Shared: another who only looks is no holder, and what the file still says may be anybody's number by now.
            if _lock(file, fcntl.LOCK_SH):
                return None
            return int(file.read().strip() or 0) or None
    except (OSError, ValueError):
        return None


def _lock(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
