"""`koco vacuum`: removes for good what was deleted, and uploads that nobody completed."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from ..config import Settings
from ..error import ConfigurationError
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
    """Purges archived executions and removes uploads that were last touched longer ago than ``age_s`` seconds.

    Raises:
        StoreUnavailable: the store can't be used now; what was removed before stays removed.
    """
    before = time.time() - age_s
    store = connect_store(settings)
    try:
        executions = await store.archived(before)
        if not dry_run:
            for execution in executions:
                await store.purge(execution.fid)
    finally:
        await store.close()
    uploads = await asyncio.to_thread(_abandoned, settings.upload_dir, before)
    if not dry_run:
        for upload in uploads:
            await asyncio.to_thread(shutil.rmtree, upload, ignore_errors=True)
    return Removed(len(executions), len(uploads))


def _abandoned(upload_dir: Path, before: float) -> list[Path]:
    if not upload_dir.is_dir():
        return []
    return [folder for folder in upload_dir.iterdir() if folder.is_dir() and _touched_at(folder) < before]


def _touched_at(folder: Path) -> float:
    """When anything in a folder was last changed; a symbolic link isn't followed."""
    times = [folder.lstat().st_mtime]
    for path in folder.rglob("*"):
        try:
            times.append(path.lstat().st_mtime)
        except OSError:
            continue
    return max(times)
