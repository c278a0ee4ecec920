"""A log file of several processes: whoever fills it rotates it, and no line is lost."""

from __future__ import annotations

import logging
import logging.handlers
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_BYTES = 10 * 1024 * 1024
KEPT_FILES = 5


class SharedRotatingFile(logging.handlers.RotatingFileHandler):
    """A rotated log file that several processes write: whoever fills it rotates it, the others notice and follow.

    Args:
        filename: the newest file; older ones get ``.1``, ``.2``, … Its folder is made with the first record.
    """

    def __init__(self, filename: str) -> None:
        super().__init__(filename, maxBytes=MAX_BYTES, backupCount=KEPT_FILES, encoding="utf-8", delay=True)

    def _open(self) -> Any:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        """Whether this record no longer fits; follows another process' rotation first."""
        if self._rotated_elsewhere():
            self._reopen()
        return bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802
        """Rotates, unless another process has done so meanwhile."""
        with _only_one(f"{self.baseFilename}.lock"):
            if self._rotated_elsewhere():
                self._reopen()
            else:
                super().doRollover()

    def _rotated_elsewhere(self) -> bool:
        if self.stream is None:
            return False
        try:
            named, opened = Path(self.baseFilename).stat(), Path(f"/dev/fd/{self.stream.fileno()}").stat()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino)

    def _reopen(self) -> None:
        if self.stream is not None:
            self.stream.close()
        self.stream = self._open()


@contextmanager
def _only_one(path: str) -> Generator[None]:
    try:
        import fcntl
    except ImportError:  # a system without it runs one process per log file
        yield
        return
    with Path(path).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
