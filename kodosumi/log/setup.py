"""Where the records of a process go, and in which format."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from .formats import JsonFormatter

JSON = "json"

_QUIET = ("httpx", "httpcore", "aiosqlite", "asyncio", "ray", "filelock", "multipart", "python_multipart")
"""Libraries whose lower levels would put addresses, queries or bodies into the log."""

logger = logging.getLogger("kodosumi.process")


def logging_config(
    file: Path | None,
    file_level: str,
    terminal_level: str,
    uvicorn_level: str = "WARNING",
    *,
    log_format: str = "text",
    process: str = "",
) -> dict[str, Any]:
    """What ``logging.config.dictConfig`` needs; plain values, so that worker processes can be handed it.

    Args:
        file: the log file, None for none.
        file_level: lowest level in it. terminal_level: lowest level on stderr.
        uvicorn_level: lowest level of the web server's own records.
        log_format: ``text`` or ``json``. process: its role, shown in JSON.
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
    text, json = {"()": "kodosumi.log.LineFormatter"}, {"()": "kodosumi.log.JsonFormatter", "process": process}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": json if log_format == JSON else text},
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


def setup_logging(
    file: Path | None,
    file_level: str,
    terminal_level: str,
    uvicorn_level: str = "WARNING",
    *,
    log_format: str = "text",
    process: str = "",
) -> None:
    """Sends this process' records where :func:`logging_config` says; as JSON, warnings and last errors too."""
    import logging.config  # what most processes of ours need not load

    logging.config.dictConfig(
        logging_config(file, file_level, terminal_level, uvicorn_level, log_format=log_format, process=process)
    )
    if log_format == JSON:
        _catch_the_rest()


def setup_last_resort(log_format: str, process: str) -> None:
    """Has JSON written by a process whose logging belongs to somebody else, as long as nobody has set it up.

    Args:
        log_format: as configured; with ``text`` nothing is changed. process: its role.
    """
    if log_format == JSON:
        # Of the library's own kind: it writes to what `sys.stderr` is at the moment.
        handler = logging._StderrHandler(logging.WARNING)  # type: ignore[attr-defined]
        handler.setFormatter(JsonFormatter(process))
        logging.lastResort = handler


def last_words(text: str) -> None:
    """Says on stderr why this process ends: plainly, or as a line of JSON where it was set up to write such."""
    handlers: list[logging.Handler | None] = [*logging.root.handlers] or [logging.lastResort]
    if any(handler is not None and isinstance(handler.formatter, JsonFormatter) for handler in handlers):
        logger.critical("%s", text)
    else:
        sys.stderr.write(f"{text}\n")


def _catch_the_rest() -> None:
    """What Python would write to stderr by itself becomes records."""
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def _log_uncaught(kind: type[BaseException], exc: BaseException, traceback: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        logger.critical("uncaught: %s", kind.__name__, exc_info=(kind, exc, traceback))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
        _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
