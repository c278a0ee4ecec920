"""Removing executions for good, in small steps: none holds locks for long, and any process can take over after any.

First a row is marked, so that nobody sees the execution any more; then its events go; then ``seq`` is 0 and only a
short row is left, which keeps late copies of its events out.
"""

from __future__ import annotations

import functools
from typing import Any

from ...error import StoreError
from ...events import ExecutionState
from ...postgres import Connection
from ..base import RemoveFiles
from . import statements
from .pool import Job, Pool, Result

STEP_EVENTS = 5_000
"""About how many events one transaction deletes."""

STEP_EXECUTIONS = 100
TOMBSTONE_S = 7 * 86_400.0
"""How long a removed execution is remembered: longer than a transport may deliver its events again."""


async def purge(pool: Pool, fid: str) -> None:
    """Removes one execution; see the store's contract."""

    async def mark(connection: Connection) -> Any:
        marked = await connection.fetch(statements.PURGE, [fid])
        return None if marked else await connection.fetchrow(statements.STATE, fid)

    async def delete(connection: Connection) -> bool:
        last = await connection.fetchval(statements.LAST_KEPT_OF_PURGED, fid)
        return not last or await _delete_events(connection, fid)

    found = await pool.run(mark, transaction=True)
    if found is not None and not found["purged"] and not ExecutionState(found["state"]).terminal:
        raise StoreError(f"Execution {fid} has not ended: cancel it before it is removed.")
    while not await pool.run(delete, transaction=True):
        pass


async def expire(pool: Pool, before: float, limit: int, remove_files: RemoveFiles | None = None) -> int:
    """Removes ended executions, and what earlier removals left; see the store's contract."""
    removed, more = 0, True
    try:
        left = await _alone(pool, _left_over)
        while True:
            while left:
                left = await _alone(pool, functools.partial(_delete_some, left))
            room = min(limit - removed, STEP_EXECUTIONS)
            if room <= 0 or not more:
                break
            over = await _alone(pool, functools.partial(_oldest, before, room))
            gone = await _without_files(over, remove_files)
            # what keeps its files would be found again and again
            more = 0 < len(gone) == len(over)
            left = await _alone(pool, functools.partial(_mark, gone))
            removed += len(left)
        while await _alone(pool, _tidy):
            pass
    except _NotAlone:
        # whoever is at it goes on where we were
        pass
    return removed


class _NotAlone(Exception):
    """Another process is removing executions."""


async def _alone(pool: Pool, job: Job[Result]) -> Result:
    """One step, which no other process takes at the same time.

    Raises:
        _NotAlone: another one is taking one.
    """

    async def step(connection: Connection) -> Result:
        if not await connection.fetchval(statements.ALONE):
            raise _NotAlone
        return await job(connection)

    return await pool.run(step, transaction=True)


async def _left_over(connection: Connection) -> list[Any]:
    rows: list[Any] = await connection.fetch(statements.LEFT_OVER, STEP_EXECUTIONS)
    return rows


async def _oldest(before: float, room: int, connection: Connection) -> list[tuple[str, str]]:
    """Owners and ids of the executions that ended first."""
    return [(row["username"], row["fid"]) for row in await connection.fetch(statements.EXPIRED, before, room)]


async def _without_files(over: list[tuple[str, str]], remove_files: RemoveFiles | None) -> list[str]:
    """Ids of the executions whose files are gone. Not in a transaction: it may take its time."""
    fids = [fid for _, fid in over]
    if remove_files is None or not over:
        return fids
    gone = await remove_files(over)
    return [fid for fid in fids if fid in gone]


async def _mark(fids: list[str], connection: Connection) -> list[Any]:
    """Marks executions as removed; what they are, but for those that somebody else has marked meanwhile."""
    rows: list[Any] = await connection.fetch(statements.PURGE, fids)
    return rows


async def _tidy(connection: Connection) -> bool:
    """Forgets what was removed long ago; whether there may be more."""
    forgotten = await connection.execute(statements.FORGET, TOMBSTONE_S)
    await connection.execute(statements.COMPACT)
    return bool(forgotten != "DELETE 0")


async def _delete_some(left: list[Any], connection: Connection) -> list[Any]:
    """Deletes events of as many small executions as one step may hold, or some of a large one; what is left then."""
    first = left[0]
    if first["seq"] > STEP_EVENTS:
        return left[1:] if await _delete_events(connection, first["fid"]) else left
    fids, events = [], 0
    for row in left:
        events += row["seq"]
        if events > STEP_EVENTS:
            break
        fids.append(row["fid"])
    await connection.execute(statements.DELETE_EVENTS_OF, fids)
    await connection.execute(statements.EMPTIED, fids)
    return left[len(fids) :]


async def _delete_events(connection: Connection, fid: str) -> bool:
    """Deletes the oldest events of a removed execution; whether that was all of them."""
    status = await connection.execute(statements.DELETE_EVENTS, fid, STEP_EVENTS)
    if int(status.rpartition(" ")[2]) == STEP_EVENTS:
        return False
    await connection.execute(statements.EMPTIED, [fid])
    return True
