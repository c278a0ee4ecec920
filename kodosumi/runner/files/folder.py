"""A run's files in a folder of this machine: the quick way. All of it blocks, and is called through the pace."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from ...error import FileMissing, FilesUnavailable
from ...files.folders import files_below, open_file, opened_folder, remove, translated
from ...files.part import Part
from .access import RunFile, Source, changed, missing
from .pace import Pace

_PIECE_BYTES = 1_048_576
_COPY_BYTES = 67_108_864


class FolderAccess:
    """The member for a folder.

    Args:
        store: folder under which the store keeps files. run: parts of the run's own folder in it.
        pace: how to wait.
    """

    def __init__(self, store: Path, run: Sequence[str], pace: Pace) -> None:
        self._store = store
        self._run = list(run)
        self._pace = pace

    async def below(self, root: str) -> list[RunFile]:
        """As in the contract; links aren't followed, and what isn't a plain file isn't told."""
        return await self._pace.call(self._below, root)

    async def read(self, path: str, piece_bytes: int) -> AsyncGenerator[bytes, None]:
        """As in the contract; whoever reads while a file is replaced gets the old one to its end."""
        file = await self._pace.call(self._open, path)
        try:
            while piece := await self._pace.call(os.read, file, piece_bytes):
                yield piece
        finally:
            os.close(file)

    async def remove(self, path: str) -> None:
        """As in the contract."""
        await self._pace.call(self._remove, path)

    async def upload(self, sources: Sequence[Source], chunk_bytes: int) -> str:
        """As in the contract: everything is copied beside ``out/`` first, and then moved there."""
        batch = str(uuid.uuid4())
        stage = [*self._run, f".part-{batch}"]
        try:
            for number, source in enumerate(sources):
                await self._stage(source, [*stage, str(number)])
            await self._pace.call(self._move, sources, stage)
        finally:
            # Not awaited: a cancelled task must not leave it.
            remove(self._store, stage)
        return batch

    async def close(self) -> None:
        """Nothing is held."""

    async def _stage(self, source: Source, target: list[str]) -> None:
        part, start = Part(self._store, target), -1
        try:
            # Not in one go: a task that is cancelled shall not leave a thread copying for minutes.
            while start < source.size:
                start = await self._pace.call(self._copy, source, part, max(start, 0))
        finally:
            part.discard()

    def _parts(self, path: str) -> list[str]:
        return [*self._run, *path.split("/")]

    def _below(self, root: str) -> list[RunFile]:
        with translated(root):
            found = files_below(self._store, self._parts(root))
        return [RunFile(f"{root}/{file.path}", file.size, file.last_modified) for file in found]

    def _open(self, path: str) -> int:
        with translated(path):
            return open_file(self._store, self._parts(path))[0]

    def _remove(self, path: str) -> None:
        with translated(path):
            if not remove(self._store, self._parts(path)):
                raise FileMissing(missing(path))

    def _copy(self, source: Source, part: Part, start: int) -> int:
        """Copies some; where it goes on, which is the source's size when all is there."""
        end = min(source.size, start + _COPY_BYTES)
        with source.path.open("rb") as file, translated(source.name, writing=True):
            file.seek(start)
            while start < end and (piece := file.read(min(end - start, _PIECE_BYTES))):
                part.write(piece)
                start += len(piece)
            if start < end:
                raise FilesUnavailable(changed(source))
            if start == source.size:
                part.finish()
        return start

    def _move(self, sources: Sequence[Source], stage: list[str]) -> None:
        with opened_folder(self._store, stage) as staged:
            for number, source in enumerate(sources):
                *folder, name = self._parts(f"out/{source.name}")
                with (
                    translated(f"out/{source.name}", writing=True),
                    opened_folder(self._store, folder, create=True) as target,
                ):
                    os.rename(str(number), name, src_dir_fd=staged, dst_dir_fd=target)
