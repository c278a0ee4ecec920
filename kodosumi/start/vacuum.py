"""`koco vacuum`: removes for good what was deleted, and uploads that nobody completed."""

from __future__ import annotations

import re
import time
from contextlib import AsyncExitStack
from typing import NamedTuple

from ..config import Settings
from ..error import ConfigurationError
from ..files import connect_files, connect_uploads
from ..files.removal import abandoned, remove_abandoned, remove_run
from ..retention import LOST_LAUNCH_S
from ..store import connect_store

UNITS_S = {"": 86_400.0, "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}


class Removed(NamedTuple):
    """How many of each were removed, or would be."""

    executions: int
    uploads: int


def age_of(text: str) -> float:
    """Seconds that ``7``, ``7d`` (days), ``12h``, ``30m`` or ``90s`` mean.

    Raises:
        ConfigurationError: it's none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([dhms]?)", text.strip().lower())
    if match is None:
        raise ConfigurationError(f"--older-than {text}: say a number of days, or one with d, h, m or s, as in 7d")
    return float(match[1]) * UNITS_S[match[2]]


async def sweep(settings: Settings, age_s: float, *, dry_run: bool = False) -> Removed:
    """Purges archived executions with their files, and removes uploads that nobody goes on with.

    The launches of durable runs that never began go too, after a day; they aren't counted.

    Args:
        settings: as loaded; ``upload_max_age`` says when an upload is abandoned.
        age_s: only executions that were last changed longer ago, seconds.
        dry_run: only count.

    Raises:
        StoreUnavailable, FilesUnavailable: a store can't be used now; what was removed before stays removed.
    """
    now = time.time()
    async with AsyncExitStack() as stack:
        store = connect_store(settings)
        stack.push_async_callback(store.close)
        files = connect_files(settings)
        stack.push_async_callback(files.close)
        uploads = connect_uploads(settings)
        stack.push_async_callback(uploads.close)
        executions = await store.archived(now - age_s)
        if dry_run:
            return Removed(len(executions), len(await abandoned(uploads, now - settings.upload_max_age)))
        for execution in executions:
            # First the files: whatever ends this, the next one finds the execution again.
            await remove_run(files, execution.username, execution.fid)
            await store.purge(execution.fid)
        await store.drop_lost_launches(now - LOST_LAUNCH_S)
        return Removed(len(executions), await remove_abandoned(uploads, now - settings.upload_max_age))
