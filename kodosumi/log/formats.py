"""How a record becomes a line: for people (``text``) or for programs (``json``). Always one line a message."""

from __future__ import annotations

import json
import logging
import time
from datetime import UTC, datetime

from .context import current_fid, current_request_id

_TEXT = "%(asctime)s.%(msecs)03dZ %(levelname)s %(process)d %(name)s: %(message)s"


class LineFormatter(logging.Formatter):
    """UTC times, a message that stays on its line whatever a client put into it, then run and request when known."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__(_TEXT, "%Y-%m-%dT%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the library's name)
        """The line, its control characters escaped."""
        line = super().formatMessage(record)
        line = line if line.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)
        known = (("fid", current_fid()), ("request", current_request_id()))
        return line + "".join(f" {name}={value}" for name, value in known if value)


class JsonFormatter(logging.Formatter):
    """One JSON object a record, ASCII only; ``docs/how-to/logs.md`` lists its fields.

    Args:
        process: role of the process, such as ``panel``.
    """

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The object, without a line break."""
        fields: dict[str, object] = {
            "time": _iso(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": _message(record),
            "process": self._process,
            "pid": record.process,
        }
        known = {"fid": current_fid(), "request_id": current_request_id(), "exception": self._exception(record)}
        return json.dumps(fields | {name: value for name, value in known.items() if value})

    def _exception(self, record: logging.LogRecord) -> str:
        traceback = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        return traceback or record.exc_text or record.stack_info or ""


class WithoutQuery(logging.Filter):
    """Cuts the query off the paths of uvicorn's access log: it may hold a password."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record pass, changed."""
        if isinstance(record.args, tuple):
            record.args = tuple(arg.partition("?")[0] if isinstance(arg, str) else arg for arg in record.args)
        return True


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        # What the library would say of it on stderr is no line of JSON.
        return f"{record.msg} (its arguments do not fit)"
