"""The two file systems that user code gets, with one behaviour: for coroutines, and for plain code."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from ...config import process_settings
from .access import Access
from .folder import FolderAccess
from .operations import Operations, place_below, place_of
from .pace import LoopPace, Pace, ThreadPace, drawn, driven
from .panel import PanelAccess
from .stream import AsyncFileStream, Stream, SyncFileStream

AnyPath = str | os.PathLike[str]


class RunFolder(NamedTuple):
    """Where a run's files lie on this machine.

    Attributes:
        store: folder of the store. parts: of the run's own folder in it, from the top.
    """

    store: Path
    parts: tuple[str, ...]


class _FileSystem:
    """What both are made of.

    Args:
        fid: of the run. panel_url: address of the panel. jwt: the run's token, or a user's.
        folder: where the files lie on this machine; None: the panel is asked.

    Attributes:
        fid, panel_url, jwt: as given.
        chunk_size: bytes of a piece of a file, read or sent (``KODO_CHUNK_SIZE``); may be set.
    """

    _pace: Pace

    def __init__(self, fid: str, panel_url: str, jwt: str, *, folder: RunFolder | None = None) -> None:
        self.fid = fid
        self.panel_url = panel_url
        self.jwt = jwt
        self.chunk_size = process_settings().chunk_size
        access: Access = (
            PanelAccess(fid, panel_url, jwt, self._pace)
            if folder is None
            else FolderAccess(folder.store, folder.parts, self._pace)
        )
        self._operations = Operations(fid, access, self._pace)

    def _stream(self, path: AnyPath) -> Stream:
        self._operations.check_open()
        return Stream(self._operations, place_below(path), self.chunk_size)


class AsyncFileSystem(_FileSystem):
    """The files of a run: what it was given under ``in/``, what it gives under ``out/``. See ``_FileSystem`` too.

    Close it, best with ``async with``: that also removes what was downloaded. Paths are relative, with slashes, and
    begin with ``in`` or ``out``.

    Raises:
        ValueError: by all, a path that is none of the run's; nothing was asked or sent.
        FilesUnavailable: by all, the files can't be reached now or the panel refuses, with its reason.
        RuntimeError: by all but ``close``, it is closed.
    """

    _pace = LoopPace()

    async def ls(self, path: AnyPath = "in") -> list[dict[str, Any]]:
        """The files at or below a path, at any depth, in order: ``path`` (with its root), ``size`` in bytes and
        ``last_modified`` in seconds since the epoch of each; [] when there are none."""
        return await self._operations.ls(place_of(path))

    def open(self, path: AnyPath) -> AsyncFileStream:
        """A file, to be read in pieces; whether it is there shows when it is read."""
        return AsyncFileStream(self._stream(path))

    def download(self, path: AnyPath = "in") -> AsyncGenerator[str, None]:
        """Copies files at or below a path into one fresh temporary folder, and gives the path of each copy when it is
        there; below the folder they lie as below ``path``. They stay until this file system is closed.

        Raises:
            FileNotFoundError: there is no such file. After any error nothing of this download is left.
        """
        return self._operations.download(place_of(path), self.chunk_size)

    async def upload(self, *paths: AnyPath) -> str | None:
        """Puts files of this machine, and all files in folders of this machine, into ``out/``: a file under its own
        name, a folder's files under their paths in that folder. All of it appears at the end, or nothing.

        Returns:
            Id of the batch; None when there was no file.

        Raises:
            FileNotFoundError: one of the paths isn't there. ValueError: a name that no store takes, or two of one name.
        """
        return await self._operations.upload(paths, self.chunk_size)

    async def remove(self, path: AnyPath) -> bool:
        """Removes a file, or a folder with all in it: True.

        Raises:
            FileNotFoundError: there is neither.
        """
        return await self._operations.remove(place_below(path))

    async def close(self) -> None:
        """Ends connections, and removes what was downloaded; idempotent."""
        await self._operations.close()

    async def __aenter__(self) -> AsyncFileSystem:
        self._operations.check_open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class SyncFileSystem(_FileSystem):
    """As :class:`AsyncFileSystem`, for plain code; several threads may use one at once. It has no thread of its own."""

    _pace = ThreadPace()

    def ls(self, path: AnyPath = "in") -> list[dict[str, Any]]:
        """As :meth:`AsyncFileSystem.ls`."""
        return driven(self._operations.ls(place_of(path)))

    def open(self, path: AnyPath) -> SyncFileStream:
        """As :meth:`AsyncFileSystem.open`."""
        return SyncFileStream(self._stream(path))

    def download(self, path: AnyPath = "in") -> Generator[str, None, None]:
        """As :meth:`AsyncFileSystem.download`."""
        return drawn(self._operations.download(place_of(path), self.chunk_size))

    def upload(self, *paths: AnyPath) -> str | None:
        """As :meth:`AsyncFileSystem.upload`."""
        return driven(self._operations.upload(paths, self.chunk_size))

    def remove(self, path: AnyPath) -> bool:
        """As :meth:`AsyncFileSystem.remove`."""
        return driven(self._operations.remove(place_below(path)))

    def close(self) -> None:
        """As :meth:`AsyncFileSystem.close`."""
        driven(self._operations.close())

    def __enter__(self) -> SyncFileSystem:
        self._operations.check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
