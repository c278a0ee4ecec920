"""The files of a run as user code sees them: ``tracer.fs()`` for coroutines, ``tracer.fs_sync()`` for plain code."""

from __future__ import annotations

from .choice import open_files, open_files_sync
from .downloads import remove_downloads
from .stream import AsyncFileStream, SyncFileStream
from .system import AsyncFileSystem, SyncFileSystem

__all__ = [
    "AsyncFileStream",
    "AsyncFileSystem",
    "SyncFileStream",
    "SyncFileSystem",
    "open_files",
    "open_files_sync",
    "remove_downloads",
]
