"""Files kept in this process, for users' own tests and offline runs. Gone when the process is."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from ..config import Settings
from ..error import BadPath, FileMissing
from .base import PIECE_BYTES, FileInfo, FileStore
from .paths import checked
from .streams import chained


class _File(NamedTuple):
    content: bytes
    info: FileInfo


class MemoryFileStore:
    """See :class:`~kodosumi.files.base.FileStore`."""

    name = "memory"

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> MemoryFileStore:
        """A new, empty store; no setting concerns it."""
        return cls()

    @classmethod
    def uploads_from_settings(cls, settings: Settings) -> MemoryFileStore:
        """Likewise."""
        return cls()

    async def list(self, folder: str) -> list[FileInfo]:
        begin = f"{checked(folder, 'key')}/" if folder else ""
        found = (
            file.info._replace(path=key[len(begin) :])
            for key, file in self._files.items()
            if key[: len(begin)] == begin
        )
        return sorted(found)

    async def info(self, key: str) -> FileInfo:
        return self._file(key).info

    async def read(self, key: str, start: int = 0, end: int | None = None) -> MemoryFileStream:
        file = self._file(key)
        return MemoryFileStream(file.info, file.content[max(start, 0) : end])

    async def write(self, key: str, content: AsyncIterable[bytes]) -> FileInfo:
        key = checked(key, "key")
        whole = b"".join([bytes(piece) async for piece in content])
        above = key.split("/")[:-1]
        if any("/".join(above[:depth]) in self._files for depth in range(1, len(above) + 1)):
            raise BadPath(f"{key} cannot be written: a part of it is a file.")
        if any(other.startswith(f"{key}/") for other in self._files):
            raise BadPath(f"{key} cannot be written: there is a folder of this name.")
        info = FileInfo(key.rpartition("/")[2], len(whole), time.time(), uuid.uuid4().hex)
        self._files[key] = _File(whole, info)
        return info

    async def join(self, key: str, source: FileStore, parts: Sequence[str]) -> FileInfo:
        return await self.write(key, chained(source, parts))

    async def remove(self, key: str) -> int:
        key = checked(key, "key")
        gone = [other for other in self._files if other == key or other.startswith(f"{key}/")]
        for other in gone:
            del self._files[other]
        return len(gone)

    def local(self, key: str) -> Path | None:
        checked(key or "all", "key")
        return None

    def mark(self) -> str:
        return ""

    async def check(self) -> None:
        """Memory can always be written."""

    async def close(self) -> None:
        """Nothing is held; what is stored stays as long as this object."""

    def _file(self, key: str) -> _File:
        file = self._files.get(checked(key, "key"))
        if file is None:
            raise FileMissing(f"{key} does not exist.")
        return file


class MemoryFileStream:
    """See :class:`~kodosumi.files.base.FileStream`."""

    def __init__(self, info: FileInfo, content: bytes) -> None:
        self.info = info
        self._rest = memoryview(content)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._rest:
            raise StopAsyncIteration
        piece, self._rest = bytes(self._rest[:PIECE_BYTES]), self._rest[PIECE_BYTES:]
        return piece

    async def aclose(self) -> None:
        self._rest = memoryview(b"")
