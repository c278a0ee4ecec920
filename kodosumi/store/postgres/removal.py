"""Removing executions for good, in small steps: none holds locks for long, and any process can take over after any.

First a row is marked, so that nobody sees the execution any more; then its events go; then ``seq`` is 0 and only a
short row is left, which keeps late copies of its events out.
"""

from __future__ import annotations

from typing import Any

from ...error import StoreError
from ...events import ExecutionState
from ...postgres import Connection
from . import statements
from .pool import Pool

STEP_EVENTS = 5_000
"""About how many events one transaction deletes."""

STEP_EXECUTIONS = 100
TOMBSTONE_S = 7 * 86_400.0
"""How long a removed execution is remembered: longer than a transport may deliver its events again."""


async def purge(pool: Pool, fid: str) -> None:
    """Removes one execution; see the store's contract."""

    async def mark(connection: Connection) -> Any:
        if not await connection.fetchval(statements.PURGE, [fid]):
            return await connection.fetchrow(statements.STATE, fid)
        return None

    async def delete(connection: Connection) -> bool:
        last = await connection.fetchval(statements.LAST_KEPT_OF_PURGED, fid)
        return not last or await _delete_events(connection, fid, last)

    found = await pool.run(mark, transaction=True)
    if found is not None and not found["purged"] and not ExecutionState(found["state"]).terminal:
        raise StoreError(f"Execution {fid} has not ended: cancel it before it is removed.")
    while not await pool.run(delete, transaction=True):
        pass


async def expire(pool: Pool, before: float, limit: int) -> int:
    """Removes ended executions, and what earlier removals left; see the store's contract."""
    removed = 0
    while True:
        room = min(limit - removed, STEP_EXECUTIONS)

        async def job(connection: Connection, room: int = room) -> int | None:
            return await _expire_step(connection, before, room)

        marked = await pool.run(job, transaction=True)
        if marked is None:
            return removed
        removed += marked


async def _expire_step(connection: Connection, before: float, room: int) -> int | None:
    """Deletes some events of removed executions, or marks the next ones; how many were marked, None: nothing to do."""
    if not await connection.fetchval(statements.ALONE):
        return None
    left = await connection.fetch(statements.LEFT_OVER, STEP_EXECUTIONS)
    if left:
        await _delete_some(connection, left)
        return 0
    over = [row["fid"] for row in await connection.fetch(statements.EXPIRED, before, max(room, 0))]
    if over:
        return int(await connection.fetchval(statements.PURGE, over))
    forgotten = await connection.execute(statements.FORGET, TOMBSTONE_S)
    await connection.execute(statements.COMPACT)
    return None if forgotten == "DELETE 0" else 0


async def _delete_some(connection: Connection, left: list[Any]) -> None:
    """Deletes the events of as many small executions as one step may hold, or some of a large one."""
    first = left[0]
    if first["seq"] > STEP_EVENTS:
        await _delete_events(connection, first["fid"], first["seq"])
        return
    fids, events = [], 0
    for row in left:
        events += row["seq"]
        if events > STEP_EVENTS:
            break
        fids.append(row["fid"])
    await connection.execute(statements.DELETE_EVENTS_OF, fids)
    await connection.execute(statements.EMPTIED, fids)


async def _delete_events(connection: Connection, fid: str, last: int) -> bool:
    """Deletes the oldest events of a removed execution; whether that was all of them."""
    status = await connection.execute(statements.DELETE_EVENTS, fid, STEP_EVENTS)
    if int(status.rpartition(" ")[2]) == STEP_EVENTS:
        return False
    await connection.execute(statements.EMPTIED, [fid])
    return True
