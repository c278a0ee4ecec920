"""Deleting executions: end the run, wait for its end in the store, then hide it or remove it.

Nothing is renamed or removed while somebody may still write to it.
"""

from __future__ import annotations

import asyncio

from ..error import ExecutionNotFound
from ..events import is_fid
from ..files.removal import remove_run
from ..store import Execution
from .auth import User
from .context import Panel
from .executions import GRACE_S, is_recent, may_see, not_found
from .steering import end_run

MAX_AT_ONCE = 1_000
_PARALLEL = 8


async def deletable(panel: Panel, user: User, fids: list[str]) -> list[Execution]:
    """The executions to delete; archived ones are among them, so that they can be purged.

    Raises:
        ApiError: 404 for the first that is unknown or not the user's.
    """
    found = []
    for fid in dict.fromkeys(fids):
        if not is_fid(fid):
            raise not_found(fid)
        try:
            execution = await panel.hub.execution(fid, GRACE_S if is_recent(fid) else 0.0)
        except ExecutionNotFound:
            raise not_found(fid) from None
        if not may_see(user, execution):
            raise not_found(fid)
        found.append(execution)
    return found


async def delete_all(panel: Panel, user: User, executions: list[Execution], purge: bool) -> None:
    """Ends, then archives or purges executions, a few at a time.

    Raises:
        ApiError: 503 when a run could not be ended; it stays as it was. Others may be deleted already.
        FilesUnavailable: the files of one could not be removed; it is archived, and can be purged again.
    """
    gate = asyncio.Semaphore(_PARALLEL)

    async def one(execution: Execution) -> None:
        async with gate:
            await _delete(panel, user, execution, purge)

    results = await asyncio.gather(*map(one, executions), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _delete(panel: Panel, user: User, execution: Execution, purge: bool) -> None:
    if not execution.state.terminal:
        await end_run(panel, user, execution.fid)
    try:
        await panel.store.archive(execution.fid)
    except ExecutionNotFound:
        return
    if purge:
        # First the files: whatever ends this, the execution is there to be purged again.
        await remove_run(panel.files, execution.username, execution.fid)
        await panel.store.purge(execution.fid)
