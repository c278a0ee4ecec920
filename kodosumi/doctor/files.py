"""Where files of runs and uploads are kept. Nothing is written: S3's rights to write are not tried."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib.util import find_spec

from ..config import Settings
from ..error import FileError
from ..files import connect_files
from .folders import writable
from .report import Finding, fine, wrong

ABSENT = "koco-doctor"
"""A folder that no role has: listing it is the least that can be asked."""


async def check(settings: Settings) -> AsyncIterator[Finding]:
    """Whether the store of files can be used."""
    if not settings.file_store:
        for subject, folder, variable in (
            ("files", settings.exec_dir, "KODO_EXEC_DIR"),
            ("uploads", settings.upload_dir, "KODO_UPLOAD_DIR"),
        ):
            yield await asyncio.to_thread(writable, subject, folder, variable)
        return
    if settings.file_store.startswith("s3:") and find_spec("obstore") is None:
        return
    store = connect_files(settings)
    try:
        await store.list(ABSENT)
    except FileError as exc:
        remedy = "Correct KODO_FILE_STORE, AWS_ENDPOINT_URL and the keys, as the how-to *Files in S3* says."
        yield wrong("file store", str(exc), remedy)
    else:
        yield fine("file store", f"{settings.file_store}: can be listed; writing was not tried")
    finally:
        await store.close()
