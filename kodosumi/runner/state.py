"""What one run may have left in its process: changed settings are put back, the rest makes the process unfit."""

from __future__ import annotations

import concurrent.futures.thread
import contextlib
import logging
import os
import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from ..error import KodosumiError

LEAVE_S = 0.1
"""Longest wait for threads that are just about to end, or to have done a pool's last work."""

_PAUSE_S = 0.01

_POOL_LOOP = concurrent.futures.thread._worker.__code__

_LIBRARIES = (
    *{str(Path(sysconfig.get_paths()[name])) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    str(Path(__file__).parents[1]) + os.sep,
)


class StaleEnvironment(KodosumiError):
    """Source that an earlier run imported has changed on disk: a fresh process is needed. Nothing was put."""


class Sources:
    """The author's source files that this process has imported."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int] | None] = {}

    def record(self) -> bool:
        """Notes what has been imported since the last call; True when there was something."""
        before = len(self._seen)
        for path in _own_files():
            if path not in self._seen:
                self._seen[path] = _stamp(path)
        return len(self._seen) > before

    def check(self) -> None:
        """Compares with the disk.

        Raises:
            StaleEnvironment: names the file that has changed.
        """
        for path, stamp in self._seen.items():
            if _stamp(path) != stamp:
                raise StaleEnvironment(f"{path} has changed")


class Surroundings:
    """Process-wide settings as they were when the author's modules were imported, to be put back after the run."""

    def __init__(self) -> None:
        self._folder = _current_folder()
        self._environment = dict(os.environ)
        self._arguments = list(sys.argv)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        self._loggers = {logger: _setup(logger) for logger in _loggers()}

    def restore(self) -> bool:
        """Puts everything back.

        Returns:
            Whether something had changed.
        """
        changed = dict(os.environ) != self._environment
        if changed:
            os.environ.clear()
            os.environ.update(self._environment)
        self._warnings.__exit__(None, None, None)
        sys.argv[:] = self._arguments
        if self._folder is not None and _current_folder() != self._folder:
            with contextlib.suppress(OSError):  # it's gone: there is no way back
                os.chdir(self._folder)
        return self._restore_logging() or changed

    def _restore_logging(self) -> bool:
        changed = False
        for logger in _loggers():
            setup = self._loggers.get(logger)
            if setup is None:
                setup = (logging.NOTSET, True, False, ())
            if _setup(logger) != setup:
                changed = True
                level, logger.propagate, logger.disabled, handlers = setup
                logger.setLevel(level)
                logger.handlers[:] = handlers
        return changed


def threads_left(before: Iterable[threading.Thread]) -> list[threading.Thread]:
    """Threads that a run has left behind, but for idle workers of a pool, which do nothing until they're given work.

    Args:
        before: the threads alive before the run.
    """
    known = set(before)
    deadline = time.monotonic() + LEAVE_S
    left = [thread for thread in threading.enumerate() if thread not in known and not _idle_worker(thread)]
    while left and (rest_s := deadline - time.monotonic()) > 0:
        left[0].join(min(rest_s, _PAUSE_S))
        left = [thread for thread in left if thread.is_alive() and not _idle_worker(thread)]
    return left


def _idle_worker(thread: threading.Thread) -> bool:
    """Whether a thread provably waits in a ``ThreadPoolExecutor`` for work: in its loop, with no work at hand."""
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None or frame.f_code is not _POOL_LOOP:
        return False
    return frame.f_locals.get("work_item") is None


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None  # removed under the process


def _own_files() -> list[str]:
    return [path for module in list(sys.modules.values()) if (path := _own_file(module)) is not None]


def _own_file(module: ModuleType | Any) -> str | None:
    path = getattr(module, "__file__", None)
    if not isinstance(path, str) or path.startswith(_LIBRARIES) or "-packages" + os.sep in path:
        return None
    return path


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _loggers() -> list[logging.Logger]:
    found = [logging.root, *logging.root.manager.loggerDict.values()]
    return [logger for logger in found if isinstance(logger, logging.Logger)]


def _setup(logger: logging.Logger) -> tuple[int, bool, bool, tuple[logging.Handler, ...]]:
    return logger.level, logger.propagate, logger.disabled, tuple(logger.handlers)
