"""The executions' files that this process holds open: few at a time, the least used ones closed first."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from ...error import StoreError
from .file import ExecutionFile
from .names import DATABASE, folder_of

logger = logging.getLogger(__name__)

MAX_OPEN = 64
"""Files kept open; each has up to three descriptors."""


class OpenFiles:
    """Hands out one file at a time to one thread at a time.

    Args:
        exec_dir: folder of all executions. max_open: files kept open while nobody uses them.
        notices: see :class:`ExecutionFile`.
    """

    def __init__(self, exec_dir: Path, max_open: int = MAX_OPEN, *, notices: bool = False) -> None:
        self._exec_dir = exec_dir
        self._notes = notices
        self._max_open = max_open
        self._files: OrderedDict[tuple[str, str], ExecutionFile] = OrderedDict()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def use(self, username: str, fid: str) -> Iterator[ExecutionFile]:
        """The file of an execution, for this thread alone; after an error its connection is given up."""
        file = self._take(username, fid)
        try:
            with file.lock:
                try:
                    yield file
                except BaseException:
                    file.indexed_version = -1
                    _close(file)
                    raise
        finally:
            self._give_back(file)

    def close(self) -> None:
        """Closes all; nobody may be using one."""
        with self._lock:
            files, self._files = list(self._files.values()), OrderedDict()
        for file in files:
            _close(file)

    def _take(self, username: str, fid: str) -> ExecutionFile:
        key = username, fid
        with self._lock:
            file = self._files.get(key)
            if file is None:
                path = folder_of(self._exec_dir, username, fid) / DATABASE
                file = self._files[key] = ExecutionFile(path, fid, username, notices=self._notes)
            self._files.move_to_end(key)
            file.users += 1
            return file

    def _give_back(self, file: ExecutionFile) -> None:
        with self._lock:
            file.users -= 1
            surplus = len(self._files) - self._max_open
            idle = (key for key, candidate in self._files.items() if not candidate.users)
            closing = [key for key, _ in zip(idle, range(surplus), strict=False)] if surplus > 0 else []
            files = [self._files.pop(key) for key in closing]
        for old in files:
            _close(old)


def _close(file: ExecutionFile) -> None:
    try:
        file.close()
    except StoreError as exc:
        logger.warning("closing: %s", exc)
