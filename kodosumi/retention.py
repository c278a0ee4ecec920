"""Retention: a duty of the spooler that removes executions which ended longer ago than ``KODO_RETENTION_DAYS``.

The store decides what may go and lets one process at a time do it, so every spooler has this duty and none needs to
know of the others. It isn't for what users delete: `koco vacuum` removes that.
"""

from __future__ import annotations

import asyncio
import logging
import time

from .error import StoreError
from .store import ExecutionStore

logger = logging.getLogger(__name__)

FIRST_AFTER_S = 60.0
"""A spooler that has just started has more urgent things to do."""

EVERY_S = 3_600.0
PORTION = 100
"""Executions removed by one step; the store removes their events in steps of its own."""

PAUSE_S = 0.5
REST = 3.0
"""After a full portion the store rests this many times as long as the portion took."""

DAY_S = 86_400.0


class Retention:
    """Removes what is old, in small steps with pauses between them.

    Args:
        store: what to remove from.
        days: executions that ended longer ago are removed, with their events.
        first_after_s: pause before the first round. every_s: between two rounds. pause_s: between two portions at
            least. portion: executions per step.
    """

    def __init__(
        self,
        store: ExecutionStore,
        days: float,
        *,
        first_after_s: float = FIRST_AFTER_S,
        every_s: float = EVERY_S,
        pause_s: float = PAUSE_S,
        portion: int = PORTION,
    ) -> None:
        self._store = store
        self._age_s = days * DAY_S
        self._first_after_s = first_after_s
        self._every_s = every_s
        self._pause_s = pause_s
        self._portion = portion

    async def run(self) -> None:
        """Does a round every now and then until it is cancelled; a store that fails is tried again in the next."""
        pause_s = self._first_after_s
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self._every_s
            await self._round()

    async def _round(self) -> None:
        removed = 0
        try:
            while True:
                began = time.monotonic()
                portion = await self._store.expire(time.time() - self._age_s, self._portion)
                removed += portion
                if portion < self._portion:
                    break
                await asyncio.sleep(max(self._pause_s, (time.monotonic() - began) * REST))
        except StoreError as exc:
            logger.warning("old executions cannot be removed now, tried again later: %s", exc)
        except Exception:
            # Whatever it is, events must still be stored.
            logger.exception("old executions cannot be removed, tried again later")
        finally:
            if removed:
                logger.info("removed %d executions that ended %g days ago or earlier", removed, self._age_s / DAY_S)
