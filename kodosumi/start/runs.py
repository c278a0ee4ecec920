"""Ends every living run with a notice, when the Ray they run on is about to end with `koco start`."""

from __future__ import annotations

import asyncio
import logging

from ..error import KodosumiError
from ..execution import ExecutionMode
from ..store import ExecutionStore

logger = logging.getLogger(__name__)

BY = "shutdown"
REFUSAL = "kodosumi is shutting down"
ROUND_TIMEOUT_S = 10.0
"""User code has five seconds to clean up; the rest is for its last events."""

ROUNDS = 20


async def cancel_runs(mode: ExecutionMode, store: ExecutionStore) -> int:
    """Refuses new launches and cancels what lives, in the name of ``shutdown``, until nothing does.

    A mode or store that can't be reached ends the attempt: then the runs end with Ray, and the next spooler says so.

    Returns:
        How many were cancelled.
    """
    cancelled: set[str] = set()
    try:
        for _ in range(ROUNDS):
            await mode.refuse(REFUSAL)
            figures = await mode.figures()
            living = [run.fid for run in await store.live() if run.fid not in cancelled]
            if not living and not figures.get("running", 0) + figures.get("waiting", 0):
                break
            if not living:
                # Accepted, but not stored yet: its id comes from the store in a moment.
                await asyncio.sleep(0.1)
                continue
            async with asyncio.timeout(ROUND_TIMEOUT_S):
                await asyncio.gather(*(mode.cancel(fid, BY) for fid in living))
            cancelled.update(living)
    except (KodosumiError, TimeoutError) as exc:
        logger.warning("not every run could be ended in order: %s", exc)
    return len(cancelled)
