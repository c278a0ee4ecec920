"""Logs: one line a record on the terminal and in a rotated file. Never an event's payload, a password or a token.

Nothing here reads settings; the panel and the spooler hand in their own.
"""

from __future__ import annotations

import logging
import logging.config
import logging.handlers
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_BYTES = 10 * 1024 * 1024
KEPT_FILES = 5

_FORMAT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(process)d %(name)s: %(message)s"
_QUIET = ("httpx", "httpcore", "aiosqlite", "asyncio", "ray", "filelock", "multipart", "python_multipart")
"""Libraries whose lower levels would put addresses, queries or bodies into the log."""


class Troubles:
    """What fails again and again, logged when it begins, when its reason changes and when it's over.

    Args:
        logger: gets a line for each change, whatever the number of tries between.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._reasons: dict[str, str] = {}

    def begin(self, what: str, reason: object) -> None:
        """A try failed.

        Args:
            what: the whole of it, as a sentence without its end (``the store cannot be written``).
            reason: why, shown behind it.
        """
        if self._reasons.get(what) != str(reason):
            self._reasons[what] = str(reason)
            self._logger.warning("%s, trying again: %s", what, reason)

    def end(self, what: str) -> None:
        """A try went well."""
        if self._reasons.pop(what, None) is not None:
            self._logger.warning("over: %s", what)


class LineFormatter(logging.Formatter):
    """UTC times, and a message that stays on its line whatever a client put into it."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(_FORMAT, "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the library's name)
        """The line, its control characters escaped."""
        line = super().formatMessage(record)
        return line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


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


class WithoutQuery(logging.Filter):
    """Cuts the query off the paths of uvicorn's access log: it may hold a password."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass, changed."""
        if isinstance(record.args, tuple):
            record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
        return True


def logging_config(
    file: Path | None, file_level: str, terminal_level: str, uvicorn_level: str = "WARNING"
) -> dict[str, Any]:
    """What ``logging.config.dictConfig`` needs; plain values, so that worker processes can be handed it.

    Args:
        file: the log file, None for none.
        file_level: lowest level in it. terminal_level: lowest level on stderr.
        uvicorn_level: lowest level of the web server's own records.
    """
    handlers: dict[str, dict[str, Any]] = {
        "terminal": {"class": "logging.StreamHandler", "level": terminal_level, "formatter": "line"}
    }
    if file is not None:
        handlers["file"] = {
            "()": "kodosumi.log.SharedRotatingFile",
            "filename": str(file),
            "level": file_level,
            "formatter": "line",
        }
    lowest = min((handler["level"] for handler in handlers.values()), key=logging.getLevelName)
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": "kodosumi.log.LineFormatter"}},
        "filters": {"without_query": {"()": "kodosumi.log.WithoutQuery"}},
        "handlers": handlers,
        "root": {"level": "WARNING", "handlers": list(handlers)},
        "loggers": {
            "kodosumi": {"level": lowest},
            "uvicorn": {"level": uvicorn_level},
            "uvicorn.access": {"level": uvicorn_level, "filters": ["without_query"]},
        }
        | {name: {"level": "WARNING"} for name in _QUIET},
    }


def setup_logging(file: Path | None, file_level: str, terminal_level: str, uvicorn_level: str = "WARNING") -> None:
    """Sends this process' records where :func:`logging_config` says."""
    logging.config.dictConfig(logging_config(file, file_level, terminal_level, uvicorn_level))


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
