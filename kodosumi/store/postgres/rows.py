"""What the rows of our tables hold, as the store's contract speaks of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ...events import Batch, Event, EventKind, ExecutionState, Position, StoredEvent
from ..base import Execution, ExecutionChange, Notice, NoticeKind
from ..summary import advance, clean, final_excerpt, search_text, unseen

Row: TypeAlias = Mapping[Any, Any]

_KINDS = {kind.value: kind for kind in EventKind}


@dataclass(frozen=True, slots=True)
class Record:
    """One execution as it is stored.

    Attributes:
        execution: the summary.
        final: searchable beginning of the result.
        position: place in the transport of the last batch, None before the first.
        version: rises with every write; 0: not stored yet.
        purged: it was removed, and only this is left.
    """

    execution: Execution
    final: str = ""
    position: Position | None = None
    version: int = 0
    purged: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What an append makes of a record.

    Attributes:
        before: the record as it was. after: as it will be.
        events: what is to be stored. refused: how many events came behind the end.
    """

    before: Record
    after: Record
    events: list[Event]
    refused: int

    @property
    def is_new(self) -> bool:
        """Whether the execution has no row yet."""
        return self.before.version == 0

    @property
    def details_changed(self) -> bool:
        """Whether the large row is to be written."""
        return self.is_new or _large_part(self.before) != _large_part(self.after)


def step(before: Record, batches: Sequence[Batch]) -> Step | None:
    """What these batches make of a record; None when all of them were stored before."""
    fresh = unseen(batches, before.position)
    if not fresh:
        return None
    events = clean(event for batch in fresh for event in batch.events)
    execution = advance(before.execution, events)
    stored = events[: execution.seq - before.execution.seq]
    after = replace(
        before,
        execution=execution,
        final=final_excerpt(stored, before.final),
        position=fresh[-1].position,
        version=before.version + 1,
    )
    return Step(before, after, stored, len(events) - len(stored))


def _large_part(record: Record) -> tuple[object, ...]:
    execution = record.execution
    return execution.state, execution.meta, execution.inputs, execution.error, record.final


def progress_values(record: Record) -> list[object]:
    """Columns that every append writes, in the order of ``statements.PROGRESS``."""
    execution, position = record.execution, record.position
    return [
        execution.seq,
        execution.state.value,
        execution.started_at,
        execution.finished_at,
        execution.changed_at,
        json.dumps(execution.locks),
        position.epoch if position else None,
        position.offset if position else None,
    ]


def detail_values(record: Record) -> list[object]:
    """Columns of ``execution_details`` behind ``fid``, in the order of ``statements.DETAILS``."""
    execution = record.execution
    search = search_text(execution, record.final).casefold()
    return [json.dumps(execution.meta), execution.inputs, execution.error, record.final, search]


def event_values(first: int, events: Sequence[Event]) -> list[list[Any]]:
    """The events as columns: ``seq``, time, kind, message.

    Args:
        first: ``seq`` of the first.
    """
    return [
        list(range(first, first + len(events))),
        [event.timestamp for event in events],
        [event.kind.value for event in events],
        [event.payload for event in events],
    ]


def record_of(row: Row) -> Record:
    """The record of a row with all columns."""
    epoch = row["epoch"]
    position = None if epoch is None else Position(epoch, row["offset"])
    return Record(execution_of(row), row["final"] or "", position, row["version"], row["purged"])


def execution_of(row: Row) -> Execution:
    """The summary; of a removed execution what its readers may still know."""
    if row["purged"]:
        return Execution(row["fid"], row["username"], ExecutionState(row["state"]), archived=True)
    return Execution(
        fid=row["fid"],
        username=row["username"],
        state=ExecutionState(row["state"]),
        seq=row["seq"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        changed_at=row["changed_at"],
        meta=json.loads(row["meta"] or "{}"),
        inputs=row["inputs"] or "",
        error=row["error"],
        locks=tuple(json.loads(row["locks"])),
        archived=row["archived"],
    )


def changes_of(rows: Iterable[Row]) -> list[ExecutionChange]:
    """Changes with the moments at which they were noticed."""
    return [ExecutionChange(execution_of(row), row["modified_at"]) for row in rows]


def notices_of(rows: Iterable[Row]) -> list[Notice]:
    """Notices of rows ``fid, seq, kind, tries, trying_s``."""
    return [Notice(fid, seq, NoticeKind(kind), tries, trying_s) for fid, seq, kind, tries, trying_s in rows]


def events_of(rows: Iterable[Row]) -> list[StoredEvent]:
    """Events of rows ``seq, kind, timestamp, message``; a kind of earlier versions is shown as ``debug``."""
    kinds, unknown = _KINDS, EventKind.DEBUG
    return [StoredEvent(seq, kinds.get(kind, unknown), at, message) for seq, kind, at, message in rows]
