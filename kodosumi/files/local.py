"""Files in a folder of this machine, or one that machines share: the default.

Every call works in the store's own few threads, so that a slow disk never holds up the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import tempfile
import threading
import uuid
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self, TypeVar

from ..config import Settings
from ..error import BadPath, FilesUnavailable
from . import folders
from .base import MARK, PIECE_BYTES, FileInfo, FileStore
from .folders import translated
from .part import Part
from .paths import parts_of
from .streams import chained, gathered

Result = TypeVar("Result")

THREADS = 4
_PROBE_BYTES = 131_072
_MARK_BYTES = 32


class LocalFileStore:
    """See :class:`~kodosumi.files.base.FileStore`. Making one touches nothing on disk; the first write does.

    Args:
        folder: of all files; may itself be a link.
    """

    name = "local"

    def __init__(self, folder: Path) -> None:
        self._root = folder.absolute()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kodosumi-files")
        self._mark = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> LocalFileStore:
        """The store under ``KODO_EXEC_DIR``."""
        return cls(settings.exec_dir)

    @classmethod
    def uploads_from_settings(cls, settings: Settings) -> LocalFileStore:
        """The store under ``KODO_UPLOAD_DIR``."""
        return cls(settings.upload_dir)

    async def list(self, folder: str) -> list[FileInfo]:
        parts = parts_of(folder)
        return await self._work(folder, folders.files_below, self._root, parts)

    async def info(self, key: str) -> FileInfo:
        return await self._work(key, folders.file_info, self._root, _file_parts(key))

    async def read(self, key: str, start: int = 0, end: int | None = None) -> LocalFileStream:
        parts = _file_parts(key)
        stream = LocalFileStream(key, start, end, self._work)
        try:
            await self._work(key, stream.open, self._root, parts)
        except BaseException:
            stream.close()
            raise
        return stream

    async def write(self, key: str, content: AsyncIterable[bytes]) -> FileInfo:
        part = Part(self._root, _file_parts(key))
        try:
            async for piece in gathered(content):
                await self._work(key, part.write, piece)
            return await self._work(key, part.finish)
        finally:
            await self._discard(part)

    async def join(self, key: str, source: FileStore, parts: Sequence[str]) -> FileInfo:
        if not isinstance(source, LocalFileStore):
            return await self.write(key, chained(source, parts))
        part = Part(self._root, _file_parts(key))
        try:
            await self._work(key, part.copy, source._root, [_file_parts(name) for name in parts])
            return await self._work(key, part.finish)
        finally:
            await self._discard(part)

    async def remove(self, key: str) -> int:
        return await self._work(key, folders.remove, self._root, _file_parts(key))

    def local(self, key: str) -> Path | None:
        return self._root.joinpath(*parts_of(key))

    async def check(self) -> None:
        await self._work("The folder of files", self._check)

    async def close(self) -> None:
        await asyncio.to_thread(self._threads.shutdown, wait=True)

    def mark(self) -> str:
        if not self._mark:
            with translated(str(self._root / MARK), writing=True):
                self._mark = _marked(self._root)
        return self._mark

    async def _work(self, key: str, job: Callable[..., Result], *args: object) -> Result:
        loop = asyncio.get_running_loop()
        try:
            future = loop.run_in_executor(self._threads, functools.partial(job, *args))
        except RuntimeError as exc:
            raise FilesUnavailable("The file store is closed.") from exc
        with translated(key):
            return await future

    async def _discard(self, part: Part) -> None:
        """Ends a part, in a thread, whatever becomes of the caller meanwhile."""
        if part.ended:
            return
        try:
            ending = asyncio.wrap_future(self._threads.submit(part.discard))
        except RuntimeError:
            part.discard()
        else:
            await asyncio.shield(ending)

    def _check(self) -> None:
        with translated(str(self._root), writing=True):
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root, prefix=".kodosumi-check-") as probe:
                probe.write(bytes(_PROBE_BYTES))
                probe.flush()


class LocalFileStream:
    """See :class:`~kodosumi.files.base.FileStream`."""

    def __init__(self, key: str, start: int, end: int | None, work: Callable[..., Awaitable[bytes]]) -> None:
        self.info = FileInfo("", 0, 0.0, "")
        self._key = key
        self._place, self._end = max(start, 0), end
        self._work = work
        self._file = -1
        self._over = False
        self._lock = threading.Lock()

    def open(self, root: Path, parts: Sequence[str]) -> None:
        """Opens the file; blocks.

        Raises:
            OSError: it can't be opened.
        """
        with self._lock:
            if not self._over:
                self._file, info = folders.open_file(root, parts)
                self._end = info.size if self._end is None else min(self._end, info.size)
                self.info = info
        if self._over:
            self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        piece = b"" if self._over else await self._work(self._key, self._next)
        if not piece:
            self.close()
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self.close()

    def close(self) -> None:
        """As ``aclose``; a piece that is being read in another thread is the last."""
        self._over = True
        if self._lock.acquire(blocking=False):
            try:
                file, self._file = self._file, -1
                if file >= 0:
                    os.close(file)
            finally:
                self._lock.release()

    def __del__(self) -> None:
        self.close()

    def _next(self) -> bytes:
        with self._lock:
            count = min((self._end or 0) - self._place, PIECE_BYTES)
            piece = os.pread(self._file, count, self._place) if self._file >= 0 and count > 0 else b""
            self._place += len(piece)
        if self._over:
            self.close()
        return piece


def marked(folder: Path, mark: str) -> bool:
    """Whether a folder is the one that a store of this machine, or one that shares it, has marked so. Blocks."""
    try:
        return bool(mark) and (folder / MARK).read_text() == mark
    except (OSError, ValueError):
        return False


def _marked(root: Path) -> str:
    """The mark of a folder, made when there is none; of several who make one at once, all get the same."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / MARK
    if not path.exists():
        draft = root / f"{MARK}-{uuid.uuid4().hex}"
        try:
            draft.touch(mode=0o600)
            draft.write_text(secrets.token_hex(_MARK_BYTES))
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(draft)
        finally:
            draft.unlink(missing_ok=True)
    return path.read_text()


def _file_parts(key: str) -> list[str]:
    """The parts of a key that isn't "".

    Raises:
        BadPath: it's "" or no key.
    """
    if not key:
        raise BadPath("The key '' cannot be used: it names everything.")
    return parts_of(key)
