"""One row of a timeline, as published, from the summary that the store keeps."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from ..events import parsed_json
from ..store import Execution


def timeline_item(execution: Execution, now: float | None = None) -> dict[str, Any]:
    """The published item (2.3); times are ISO 8601 in UTC.

    Args:
        execution: its summary.
        now: seconds since the epoch, for the runtime of a living run; this moment by default.
    """
    until = execution.finished_at or (time.time() if now is None else now)
    return {
        "fid": execution.fid,
        "tags": execution.meta.get("tags") or [],
        "summary": execution.meta.get("summary") or execution.meta.get("entry_point") or "",
        "inputs": _inputs(execution.inputs),
        "status": execution.shown_state.value,
        "startup": iso_time(execution.started_at),
        "finish": iso_time(execution.finished_at),
        "runtime": max(0.0, until - execution.started_at) if execution.started_at else 0.0,
        "locks": list(execution.locks),
    }


def iso_time(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC; None for no time, and for one that no calendar has."""
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None


def _inputs(text: str) -> Any:
    """The wrapped inputs; what a summary has cut off is given as text."""
    if not text:
        return None
    try:
        return parsed_json(text)
    except (ValueError, RecursionError):
        return {"str": f"{text[:1_000]}…"}
