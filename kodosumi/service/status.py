"""The published status object of an execution."""

from __future__ import annotations

import json
from typing import Any

from ..events import EventKind, ExecutionState
from ..store import Execution
from .context import Panel
from .error_line import error_line
from .executions import queue_position

META_FIELDS = ("summary", "description", "tags", "deprecated", "author", "organization", "version")


async def status_object(panel: Panel, execution: Execution) -> dict[str, Any]:
    """The published status (2.1), with ``queue_position`` while the run waits its turn.

    Args:
        panel: the panel.
        execution: a summary read just now.
    """
    meta = execution.meta
    status = {
        "status": execution.shown_state.value,
        "timestamp": execution.changed_at,
        "final": await final_text(panel, execution),
        "fid": execution.fid,
        **{name: meta.get(name) for name in META_FIELDS},
        "kodosumi_version": meta.get("kodosumi"),
        "app_url": meta.get("app_url"),
        "entry_point": meta.get("entry_point"),
        "username": execution.username,
        "locks": list(execution.locks),
    }
    if execution.state == ExecutionState.STARTING:
        place = await queue_position(panel.mode, execution.fid)
        if place is not None:
            status["queue_position"] = place
    return status


async def final_text(panel: Panel, execution: Execution) -> str | None:
    """The wrapped JSON of an execution's result, ``{"Text": …}`` of its error's last lines, None before its end."""
    if execution.state == ExecutionState.FINISHED:
        event = await panel.store.last_event(execution.fid, EventKind.FINAL)
        return event.payload if event else None
    if execution.state == ExecutionState.ERROR:
        event = await panel.store.last_event(execution.fid, EventKind.ERROR)
        return json.dumps({"Text": {"body": error_line(event.payload if event else execution.error or "")}})
    return None
