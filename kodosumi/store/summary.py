"""How events become the summary of their execution: one pure fold, the same in every store.

What a payload contains is data from user code: whatever is in it, an append goes on. Nothing here reads or writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..events import Batch, Event, EventKind, ExecutionState, Position, StoredEvent, parsed_json, storable
from .base import MAX_SUMMARY_CHARS, Execution, NoticeKind

MAX_EXCERPT_CHARS = 3_000
"""Longest part of inputs, and of a result, that can be found by a search."""

MAX_SEARCH_CHARS = 8_192
"""Longest search text of an execution."""

_MAX_FIELD_CHARS = 400
_SUMMARY_KINDS = (
    EventKind.STATUS,
    EventKind.META,
    EventKind.INPUTS,
    EventKind.FINAL,
    EventKind.ERROR,
    EventKind.LOCK,
    EventKind.LEASE,
)


def advance(execution: Execution, events: Iterable[Event | StoredEvent]) -> Execution:
    """The summary after these events; what follows the terminal status event is left out.

    The difference of ``seq`` is the number of events taken: a store keeps so many and refuses the rest.

    Args:
        execution: the summary so far; one that has ended takes nothing.
        events: the next events in order.
    """
    if execution.state.terminal:
        return execution
    seq = execution.seq
    for event in events:
        if seq == 0:
            execution = replace(execution, started_at=event.timestamp, changed_at=event.timestamp)
        seq += 1
        if event.kind in _SUMMARY_KINDS:
            execution = _apply(execution, event)
            if execution.state.terminal:
                break
    return replace(execution, seq=seq)


def _apply(execution: Execution, event: Event | StoredEvent) -> Execution:
    match event.kind:
        case EventKind.STATUS:
            return _with_state(execution, event)
        case EventKind.META:
            meta = _wrapped_dict(event.payload)
            return replace(execution, meta=execution.meta if meta is None else meta, changed_at=event.timestamp)
        case EventKind.FINAL:
            return replace(execution, changed_at=event.timestamp)
        case EventKind.INPUTS:
            return replace(execution, inputs=event.payload[:MAX_SUMMARY_CHARS])
        case EventKind.ERROR:
            # a traceback says at its end what went wrong
            return replace(execution, error=event.payload[-MAX_SUMMARY_CHARS:])
        case _:
            return _with_locks(execution, event)


def _with_state(execution: Execution, event: Event | StoredEvent) -> Execution:
    try:
        state = ExecutionState(event.payload)
    except ValueError:
        return execution
    if state == ExecutionState.AWAITING:
        # computed from open locks, never stored
        return execution
    changed = replace(execution, state=state, changed_at=event.timestamp)
    if state.terminal:
        # nobody is left who could wait for an answer
        return replace(changed, finished_at=event.timestamp, locks=())
    return changed


def _with_locks(execution: Execution, event: Event | StoredEvent) -> Execution:
    lid = (_wrapped_dict(event.payload) or {}).get("lid")
    if not isinstance(lid, str):
        return execution
    others = tuple(lock for lock in execution.locks if lock != lid)
    return replace(execution, locks=(*others, lid) if event.kind == EventKind.LOCK else others)


def _wrapped_dict(payload: str) -> dict[str, Any] | None:
    """What ``{"dict": {...}}`` holds, or None when the payload is anything else."""
    try:
        value = parsed_json(payload)
    except (ValueError, RecursionError):
        return None
    inner = value.get("dict") if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else None


def clean(events: Iterable[Event]) -> list[Event]:
    """The events as every store can hold them: no NUL, no lone surrogates, finite times, plain text."""
    return [
        Event(kind, timestamp if math.isfinite(timestamp) else 0.0, str(storable(payload)))
        for kind, timestamp, payload in events
    ]


def unseen(batches: Sequence[Batch], position: Position | None) -> list[Batch]:
    """The batches that lie above the stored position, and above each other."""
    fresh = []
    for batch in batches:
        if position is None or batch.position > position:
            fresh.append(batch)
            position = batch.position
    return fresh


def noticed(events: Iterable[Event], after: int) -> list[tuple[int, NoticeKind]]:
    """Which of these events somebody outside is to be told of: their places, and what they are about.

    Args:
        events: as they are stored. after: the place before the first of them.
    """
    found = []
    for seq, event in enumerate(events, after + 1):
        if event.kind == EventKind.LOCK:
            found.append((seq, NoticeKind.LOCK))
        elif event.ends_execution:
            found.append((seq, NoticeKind(event.payload)))
    return found


def final_excerpt(events: Iterable[Event | StoredEvent], before: str = "") -> str:
    """The searchable beginning of the last result among the events, or what was known before."""
    for event in events:
        if event.kind == EventKind.FINAL:
            before = event.payload[:MAX_EXCERPT_CHARS]
    return before


def search_text(execution: Execution, final: str = "") -> str:
    """What a search looks into: lines of ``key:value``, bounded, in the case that they were written in.

    Args:
        execution: the summary.
        final: the beginning of the result, see :func:`final_excerpt`.
    """
    meta = execution.meta
    startup = datetime.fromtimestamp(_in_range(execution.started_at), UTC).isoformat()
    tags = meta.get("tags")
    pairs: list[tuple[str, object]] = [
        *((name, meta.get(name)) for name in ("summary", "description", "author", "organization")),
        ("fid", execution.fid),
        ("status", execution.state.value),
        *(("tag", tag) for tag in (tags if isinstance(tags, list) else [])[:32]),
        ("startup", startup),
    ]
    lines = [f"{key}:{str(value)[:_MAX_FIELD_CHARS]}" for key, value in pairs if value is not None]
    lines.append(f"inputs:{execution.inputs[:MAX_EXCERPT_CHARS]}")
    lines.append(f"final:{final[:MAX_EXCERPT_CHARS]}")
    return storable("\n".join(lines)[:MAX_SEARCH_CHARS])


def _in_range(timestamp: float) -> float:
    """A time that a calendar knows."""
    return timestamp if 0.0 <= timestamp < 253_402_300_799 else 0.0
