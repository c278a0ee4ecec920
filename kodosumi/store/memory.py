"""A store that keeps everything in this process, for users' own tests and offline runs. Gone when the process is."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ..config import Settings
from ..error import ExecutionNotFound, StoreError
from ..events import Batch, EventKind, ExecutionState, Position, StoredEvent
from .base import Appended, Execution, ExecutionChange, Notice, NoticeKind, RemoveFiles, Tally
from .summary import advance, clean, final_excerpt, noticed, search_text, unseen

_SMALLEST_STEP_S = 1e-6


@dataclass(slots=True)
class _Record:
    """One execution with all that is kept of it."""

    execution: Execution
    events: list[StoredEvent] = field(default_factory=list)
    position: Position | None = None
    final: str = ""
    modified_at: float = 0.0
    purged: bool = False

    def matches(self, query: str) -> bool:
        return query in search_text(self.execution, self.final).casefold()


@dataclass(slots=True)
class _Waiting:
    """What is kept of a notice beside its key."""

    kind: NoticeKind
    due_at: float
    tries: int = 0
    tried_at: float | None = None


class _Launch(NamedTuple):
    """What a durable run is started with, and since when it is kept."""

    content: bytes
    kept_at: float


class MemoryExecutionStore:
    """See :class:`~kodosumi.store.base.ExecutionStore`.

    Args:
        notices: note what somebody outside is to be told of.
    """

    def __init__(self, *, notices: bool = False) -> None:
        self._records: dict[str, _Record] = {}
        self._clock = 0.0
        self._notes = notices
        self._waiting: dict[tuple[str, int], _Waiting] = {}
        self._launches: dict[str, _Launch] = {}
        self._ended: Counter[ExecutionState] = Counter()

    @classmethod
    def from_settings(cls, settings: Settings) -> MemoryExecutionStore:
        """A new, empty store."""
        return cls(notices=bool(settings.webhook_url))

    async def append(self, fid: str, username: str, batches: Sequence[Batch]) -> Appended:
        record = self._records.get(fid) or _Record(Execution(fid, username))
        fresh = unseen(batches, record.position)
        events = clean(event for batch in fresh for event in batch.events)
        before = record.execution
        if record.purged:
            return Appended(0, 0, 0, before.state)
        if fresh:
            record.execution = advance(before, events)
            self._keep(record, events[: record.execution.seq - before.seq])
            record.position = fresh[-1].position
            self._records[fid] = record
            self._touch(record)
            if record.execution.state.terminal and not before.state.terminal:
                self._ended[record.execution.state] += 1
        stored = record.execution.seq - before.seq
        return Appended(record.execution.seq, stored, len(events) - stored, record.execution.state)

    async def keep_launch(self, fid: str, username: str, launch: bytes) -> None:
        self._launches.setdefault(fid, _Launch(launch, time.time()))

    async def launch(self, fid: str) -> bytes:
        kept = self._launches.get(fid)
        if kept is None:
            raise ExecutionNotFound(fid)
        return kept.content

    async def drop_launch(self, fid: str) -> None:
        self._launches.pop(fid, None)

    async def drop_lost_launches(self, before: float) -> int:
        begun = {record.execution.fid for record in self._of(None) if not record.purged and record.execution.seq}
        lost = [fid for fid, kept in self._launches.items() if kept.kept_at < before and fid not in begun]
        for fid in lost:
            del self._launches[fid]
        return len(lost)

    async def events(
        self, fid: str, after: int = 0, limit: int = 1000, kinds: Collection[EventKind] | None = None
    ) -> list[StoredEvent]:
        rest = self._record(fid).events[max(after, 0) :]
        return [event for event in rest if kinds is None or event.kind in kinds][: max(limit, 0)]

    async def last_event(self, fid: str, kind: EventKind) -> StoredEvent | None:
        return next((event for event in reversed(self._record(fid).events) if event.kind == kind), None)

    async def execution(self, fid: str) -> Execution:
        return self._record(fid).execution

    async def executions(
        self,
        *,
        username: str | None = None,
        query: str = "",
        before: str | None = None,
        after: str | None = None,
        limit: int = 10,
    ) -> list[Execution]:
        folded = query.casefold()
        found = [
            record.execution
            for record in self._of(username)
            if not record.execution.archived
            and (before is None or record.execution.fid < before)
            and (after is None or record.execution.fid > after)
            and record.matches(folded)
        ]
        return sorted(found, key=lambda execution: execution.fid, reverse=True)[: max(limit, 0)]

    async def count(self, *, username: str | None = None) -> int:
        return sum(not record.execution.archived for record in self._of(username))

    async def tally(self) -> Tally:
        return Tally(Counter(execution.shown_state for execution in await self.live()), dict(self._ended))

    async def changes(
        self, since: float, *, username: str | None = None, query: str = "", limit: int = 100
    ) -> list[ExecutionChange]:
        folded = query.casefold()
        changed = [
            ExecutionChange(record.execution, record.modified_at)
            for record in self._of(username)
            if record.modified_at > since and (record.execution.archived or record.matches(folded))
        ]
        return sorted(changed, key=lambda change: change.modified_at)[: max(limit, 0)]

    async def live(self) -> list[Execution]:
        living = [record.execution for record in self._of(None) if not record.execution.state.terminal]
        return sorted(living, key=lambda execution: execution.fid)

    async def archive(self, fid: str) -> None:
        record = self._record(fid)
        if not record.execution.archived:
            record.execution = replace(record.execution, archived=True)
            self._touch(record)

    async def purge(self, fid: str) -> None:
        record = self._records.get(fid)
        if record is None or record.purged:
            return
        if not record.execution.state.terminal:
            raise StoreError(f"Execution {fid} has not ended: cancel it before it is removed.")
        self._remove(record)

    async def expire(self, before: float, limit: int, remove_files: RemoveFiles | None = None) -> int:
        # of a removed one only the state is left, not when it ended
        ends = [(record.execution.finished_at, record) for record in self._of(None)]
        over = [(end, record) for end, record in ends if end is not None and end < before]
        over.sort(key=lambda pair: pair[0])
        chosen = [record for _, record in over[: max(limit, 0)]]
        if remove_files is not None and chosen:
            gone = await remove_files([(record.execution.username, record.execution.fid) for record in chosen])
            chosen = [record for record in chosen if record.execution.fid in gone and not record.purged]
        for record in chosen:
            self._remove(record)
        return len(chosen)

    async def archived(self, older_than: float) -> list[Execution]:
        return [
            record.execution
            for record in self._of(None)
            if record.execution.archived and not record.purged and record.modified_at < older_than
        ]

    async def notices(self, limit: int, lease_s: float) -> list[Notice]:
        now = time.time()
        due = [(key, waiting) for key, waiting in self._waiting.items() if waiting.due_at <= now]
        due.sort(key=lambda pair: pair[1].due_at)
        claimed = []
        for (fid, seq), waiting in due[: max(limit, 0)]:
            waiting.due_at, waiting.tries = now + lease_s, waiting.tries + 1
            waiting.tried_at = now if waiting.tried_at is None else waiting.tried_at
            claimed.append(Notice(fid, seq, waiting.kind, waiting.tries, now - waiting.tried_at))
        return claimed

    async def settle_notice(self, notice: Notice) -> None:
        self._waiting.pop((notice.fid, notice.seq), None)

    async def defer_notice(self, notice: Notice, pause_s: float) -> None:
        waiting = self._waiting.get((notice.fid, notice.seq))
        if waiting is not None:
            waiting.due_at = time.time() + pause_s

    async def waiting_notices(self) -> int:
        return len(self._waiting)

    async def check(self) -> None:
        """Memory can always be written."""

    async def close(self) -> None:
        """Nothing is held; what is stored stays as long as this object."""

    def _record(self, fid: str) -> _Record:
        record = self._records.get(fid)
        if record is None or record.purged:
            raise ExecutionNotFound(fid)
        return record

    def _remove(self, record: _Record) -> None:
        execution = record.execution
        # what is left lets readers see that it went away, and keeps late copies of its events out
        record.execution = Execution(execution.fid, execution.username, execution.state, archived=True)
        record.events, record.final, record.purged = [], "", True
        self._launches.pop(execution.fid, None)
        self._waiting = {key: waiting for key, waiting in self._waiting.items() if key[0] != execution.fid}
        self._touch(record)

    def _of(self, username: str | None) -> Iterable[_Record]:
        records = self._records.values()
        return records if username is None else (r for r in records if r.execution.username == username)

    def _keep(self, record: _Record, events: Sequence[Any]) -> None:
        first = len(record.events) + 1
        record.events.extend(StoredEvent(seq, *event) for seq, event in enumerate(events, first))
        record.final = final_excerpt(events, record.final)
        if self._notes:
            now, fid = time.time(), record.execution.fid
            self._waiting.update({(fid, seq): _Waiting(kind, now) for seq, kind in noticed(events, first - 1)})

    def _touch(self, record: _Record) -> None:
        self._clock = max(time.time(), self._clock + _SMALLEST_STEP_S)
        record.modified_at = self._clock
