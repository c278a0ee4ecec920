"""Room on the disks of what is kept there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from ..config import Settings
from .folders import nearest
from .report import Finding, fine, warning, wrong

LITTLE, NEXT_TO_NOTHING = 0.10, 0.02
"""Free parts of a disk."""


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """What is free where executions, uploads and logs are kept."""
    for variable, folder in _folders(settings):
        usage = await asyncio.to_thread(psutil.disk_usage, str(nearest(folder)))
        yield judged(variable, folder, usage.free, usage.total)


def judged(variable: str, folder: Path, free_bytes: int, total_bytes: int) -> Finding:
    """What the room on a disk means.

    Args:
        variable: that names the folder. free_bytes: for this user. total_bytes: of the disk.
    """
    part = free_bytes / total_bytes if total_bytes else 1.0
    text = f"{folder}: {part:.0%} free ({free_bytes / 1e9:,.1f} GB)"
    remedy = f"Make room: `koco vacuum`, KODO_RETENTION_DAYS, a larger disk, or another folder by {variable}."
    if part < NEXT_TO_NOTHING:
        return wrong(variable, text, remedy)
    return warning(variable, text, remedy) if part < LITTLE else fine(variable, text)


def _folders(settings: Settings) -> list[tuple[str, Path]]:
    in_s3 = bool(settings.file_store)
    found = []
    if not (in_s3 and settings.execution_database):
        found.append(("KODO_EXEC_DIR", settings.exec_dir))
    if not in_s3:
        found.append(("KODO_UPLOAD_DIR", settings.upload_dir))
    logs = [("KODO_APP_LOG_FILE", settings.app_log_file), ("KODO_SPOOLER_LOG_FILE", settings.spooler_log_file)]
    if settings.execution_mode == "temporal":
        logs.append(("KODO_TEMPORAL_LOG_FILE", settings.temporal_log_file))
    return found + [(variable, file.parent) for variable, file in logs if file is not None]
