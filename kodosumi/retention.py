"""Retention: a duty of the spooler that removes what is old.

Executions which ended longer ago than ``KODO_RETENTION_DAYS`` go with their files, and uploads that nobody has gone on
with for ``KODO_UPLOAD_MAX_AGE``, by their last change and by nothing else: that a spooler starts, ends or dies removes
none. After a day, launches of durable runs that never began go too. The store decides which executions may go and lets
one process at a time do it, so every spooler has this duty and none needs to know of the others. It isn't for what
users delete: `koco vacuum` removes that.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time

from .config import Settings
from .error import FilesUnavailable, StoreError
from .files import FileStore, connect_files, connect_uploads
from .files.removal import remove_abandoned, remove_runs
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
LOST_LAUNCH_S = DAY_S
"""So long ago a launch was kept that nobody is still about to begin its run."""


class Retention:
    """Removes what is old, in small steps with pauses between them.

    Args:
        store: of executions. files: of theirs. uploads: in progress. Both are closed at the end.
        days: executions that ended longer ago are removed; None: they are kept.
        upload_max_age_s: uploads that were last changed longer ago are removed.
        first_after_s: pause before the first round. every_s: between two rounds. pause_s: between two portions at
            least. portion: executions per step.
    """

    def __init__(
        self,
        store: ExecutionStore,
        files: FileStore,
        uploads: FileStore,
        *,
        days: float | None,
        upload_max_age_s: float,
        first_after_s: float = FIRST_AFTER_S,
        every_s: float = EVERY_S,
        pause_s: float = PAUSE_S,
        portion: int = PORTION,
    ) -> None:
        self._store = store
        self._files = files
        self._uploads = uploads
        self._age_s = None if days is None else days * DAY_S
        self._upload_age_s = upload_max_age_s
        self._first_after_s = first_after_s
        self._every_s = every_s
        self._pause_s = pause_s
        self._portion = portion

    @classmethod
    def from_settings(cls, settings: Settings, store: ExecutionStore) -> Retention:
        """What the settings say is old.

        Raises:
            ConfigurationError: the stores of files can't be made from the settings.
        """
        return cls(
            store,
            connect_files(settings),
            connect_uploads(settings),
            days=settings.retention_days,
            upload_max_age_s=settings.upload_max_age,
        )

    async def run(self) -> None:
        """Does a round every now and then until it is cancelled; a store that fails is tried again in the next."""
        pause_s = self._first_after_s
        try:
            while True:
                await asyncio.sleep(pause_s)
                pause_s = self._every_s
                await self._round()
        finally:
            await self._files.close()
            await self._uploads.close()

    async def _round(self) -> None:
        await self._uploads_round()
        await self._launches_round()
        if self._age_s is not None:
            await self._executions_round(self._age_s)

    async def _uploads_round(self) -> None:
        try:
            removed = await remove_abandoned(self._uploads, time.time() - self._upload_age_s)
        except FilesUnavailable as exc:
            logger.warning("abandoned uploads cannot be removed now, tried again later: %s", exc)
        except Exception:
            # Whatever it is, events must still be stored.
            logger.exception("abandoned uploads cannot be removed, tried again later")
        else:
            if removed:
                logger.info("removed %d uploads that nobody went on with for %g s", removed, self._upload_age_s)

    async def _launches_round(self) -> None:
        try:
            removed = await self._store.drop_lost_launches(time.time() - LOST_LAUNCH_S)
        except StoreError as exc:
            logger.warning("launches that never became runs cannot be removed now, tried again later: %s", exc)
        except Exception:
            logger.exception("launches that never became runs cannot be removed, tried again later")
        else:
            if removed:
                logger.info("removed %d launches that never became runs", removed)

    async def _executions_round(self, age_s: float) -> None:
        removed = 0
        remove_files = functools.partial(remove_runs, self._files)
        try:
            while True:
                began = time.monotonic()
                portion = await self._store.expire(time.time() - age_s, self._portion, remove_files)
                removed += portion
                if portion < self._portion:
                    break
                await asyncio.sleep(max(self._pause_s, (time.monotonic() - began) * REST))
        except StoreError as exc:
            logger.warning("old executions cannot be removed now, tried again later: %s", exc)
        except Exception:
            logger.exception("old executions cannot be removed, tried again later")
        finally:
            if removed:
                logger.info("removed %d executions that ended %g days ago or earlier", removed, age_s / DAY_S)
