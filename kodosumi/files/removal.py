"""What is removed when nobody needs it any more: files of executions that go, uploads that nobody goes on with.

Every step can be repeated, and by any process: what an interrupted one left is removed by the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence

from ..error import BadPath, FilesUnavailable
from .base import ROOTS, FileStore
from .paths import checked

logger = logging.getLogger(__name__)

_PARALLEL = 4


async def remove_run(files: FileStore, username: str, fid: str) -> None:
    """Removes the files of an execution, and nothing that lies beside them; idempotent.

    Raises:
        FilesUnavailable: they can't be removed now; some may be gone.
    """
    for root in ROOTS:
        try:
            key = checked(f"{username}/{fid}/{root}", "key")
        except BadPath:
            # an execution of an earlier version, with an id or owner that no file ever had
            return
        await files.remove(key)


async def remove_runs(files: FileStore, runs: Iterable[tuple[str, str]]) -> Collection[str]:
    """Removes the files of several executions, a few at a time.

    Args:
        files: where they are. runs: role id of the owner and execution id, of each.

    Returns:
        The execution ids whose files are gone; why others stay is in the log.
    """
    gate = asyncio.Semaphore(_PARALLEL)

    async def one(username: str, fid: str) -> str | None:
        async with gate:
            try:
                await remove_run(files, username, fid)
            except FilesUnavailable as exc:
                logger.warning("the files of execution %s cannot be removed now, tried again later: %s", fid, exc)
                return None
            return fid

    gone = await asyncio.gather(*(one(username, fid) for username, fid in runs))
    return {fid for fid in gone if fid is not None}


async def abandoned(uploads: FileStore, before: float) -> Sequence[str]:
    """Keys of the uploads in which nothing was changed since a moment (seconds since the epoch).

    Raises:
        FilesUnavailable: they can't be listed now.
    """
    changed: dict[str, float] = {}
    for info in await uploads.list(""):
        folder = info.path.rpartition("/")[0]
        changed[folder] = max(changed.get(folder, 0.0), info.last_modified)
    return [folder for folder, at in changed.items() if folder and at < before]


async def remove_abandoned(uploads: FileStore, before: float) -> int:
    """Removes the uploads that :func:`abandoned` tells of; how many that were.

    Raises:
        FilesUnavailable: they can't be removed now; some may be gone.
    """
    removed = 0
    for folder in await abandoned(uploads, before):
        # somebody may have gone on with it while others were removed
        if all(info.last_modified < before for info in await uploads.list(folder)):
            removed += bool(await uploads.remove(folder))
    return removed
