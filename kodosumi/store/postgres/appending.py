"""Appends: what this process knows of an execution is tried first, and what the database says when that is behind.

Every write names the version that it builds on. So no two processes can give the same ``seq`` twice or leave one out,
and a process that knows the execution already needs one round trip.
"""

from __future__ import annotations

import functools
import logging
import random
from collections import OrderedDict
from collections.abc import Sequence

from ...error import StoreError, StoreUnavailable
from ...events import Batch
from ...postgres import Connection
from ..base import Appended, Execution
from ..summary import noticed
from . import statements
from .pool import Pool
from .rows import Record, Step, detail_values, event_values, progress_values, record_of, step

INLINE_EVENTS = 64
"""Most events that go into the statement itself; more are copied, which costs round trips and less time each."""

KNOWN_EXECUTIONS = 256
COMPACT_EVERY = 256
"""About how many new executions come between two times at which they are added up."""

_ATTEMPTS = 5

logger = logging.getLogger(__name__)


class Appender:
    """Commits batches.

    Args:
        pool: connections. notices: note what somebody outside is to be told of.
    """

    def __init__(self, pool: Pool, *, notices: bool = False) -> None:
        self._pool = pool
        self._notes = notices
        self._known: OrderedDict[str, Record] = OrderedDict()

    async def append(self, fid: str, username: str, batches: Sequence[Batch]) -> Appended:
        """See the store's contract."""
        known = self._known.get(fid)
        planned = step(known, batches) if known else None
        if planned is None or not await self._written(planned):
            planned, found = await self._agreed(fid, username, batches)
            if planned is None:
                return _unchanged(found)
        self._remember(planned.after)
        if planned.is_new:
            await self._add_up_sometimes()
        execution = planned.after.execution
        return Appended(execution.seq, len(planned.events), planned.refused, execution.state)

    async def _written(self, planned: Step) -> bool:
        async def job(connection: Connection) -> bool:
            return await _write(connection, planned, self._notes)

        return await self._pool.run(job, transaction=len(planned.events) > INLINE_EVENTS)

    async def _agreed(self, fid: str, username: str, batches: Sequence[Batch]) -> tuple[Step | None, Record]:
        """Appends to what the database says, with the execution locked meanwhile."""

        async def job(connection: Connection) -> tuple[Step | None, Record] | None:
            row = await connection.fetchrow(statements.RECORD_LOCKED, fid)
            record = record_of(row) if row else Record(Execution(fid, username))
            planned = None if record.purged else step(record, batches)
            if planned is not None and not await _write(connection, planned, self._notes):
                return None
            return planned, record

        for _ in range(_ATTEMPTS):
            done = await self._pool.run(job, transaction=True)
            if done is not None:
                return done
            # there was nothing to lock, and another process began the execution first
        raise StoreUnavailable(f"Execution {fid} is begun by several processes at once.")

    def _remember(self, record: Record) -> None:
        fid = record.execution.fid
        if record.execution.state.terminal:
            self._known.pop(fid, None)
            return
        known = self._known.get(fid)
        if known is not None and known.version > record.version:
            # another task of this process was faster
            return
        self._known[fid] = record
        self._known.move_to_end(fid)
        if len(self._known) > KNOWN_EXECUTIONS:
            self._known.popitem(last=False)

    async def _add_up_sometimes(self) -> None:
        # by chance, so that many processes that each begin few executions do so, too
        if random.randrange(COMPACT_EVERY):
            return
        try:
            for statement in (statements.COMPACT, statements.COMPACT_ENDED):
                await self._pool.run(functools.partial(_executed, statement))
        except StoreError as exc:
            # the append is done; adding up can wait for the next one
            logger.warning("counts of executions are not added up now: %s", exc)


async def _executed(statement: str, connection: Connection) -> None:
    await connection.execute(statement)


async def _write(connection: Connection, planned: Step, notes: bool) -> bool:
    """Whether the step was written; False when it builds on what is no longer so."""
    before, after, events = planned.before, planned.after, planned.events
    inline = 0 < len(events) <= INLINE_EVENTS
    notices = noticed(events, before.execution.seq) if notes else []
    text = statements.write(
        new=planned.is_new,
        listed=before.execution.seq == 0 < after.execution.seq and not after.execution.archived,
        details=planned.details_changed,
        events=inline,
        notices=bool(notices),
        ended=None if before.execution.state.terminal or not after.execution.state.terminal else after.execution.state,
    )
    first = before.execution.seq + 1
    owner = after.execution.username
    values = [after.execution.fid, owner if planned.is_new else before.version, *progress_values(after)]
    if planned.details_changed:
        values += detail_values(after)
    if inline:
        values += event_values(first, events)
    if notices:
        values += [[seq for seq, _ in notices], [kind.value for _, kind in notices]]
    if not await connection.fetchval(text, *values):
        return False
    if events and not inline:
        fid = after.execution.fid
        await connection.copy_records_to_table(
            "execution_events",
            columns=statements.EVENT_COLUMNS,
            records=[
                (seq, at, kind.value, message, fid, owner) for seq, (kind, at, message) in enumerate(events, first)
            ],
        )
    return True


def _unchanged(record: Record) -> Appended:
    execution = record.execution
    return Appended(0 if record.purged else execution.seq, 0, 0, execution.state)
