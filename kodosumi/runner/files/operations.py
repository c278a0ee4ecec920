"""What both file systems do, written once: paths are checked, and the work is given to the way to the files.

Nothing here knows where the files are, nor whether whoever asks waits on a loop or by standing still.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

from ...error import BadPath, FileMissing
from ...files.base import ROOTS
from ...files.paths import checked
from .access import Access, RunFile, missing
from .downloads import Downloads
from .pace import Pace
from .sources import sources_of


class Place(NamedTuple):
    """A checked path of a run's files.

    Attributes:
        root: ``in`` or ``out``. rest: below it, "" for the root itself.
    """

    root: str
    rest: str

    @property
    def path(self) -> str:
        """With its root."""
        return f"{self.root}/{self.rest}" if self.rest else self.root


class Operations:
    """The work of a file system.

    Args:
        fid: of the run. access: the way to its files. pace: how to wait.
    """

    def __init__(self, fid: str, access: Access, pace: Pace) -> None:
        self._access = access
        self._pace = pace
        self._downloads = Downloads(fid)
        self._closed = False

    async def ls(self, place: Place) -> list[dict[str, Any]]:
        """The files at or below a place."""
        self.check_open()
        return [file._asdict() for file in await self._matching(place)]

    async def download(self, place: Place, piece_bytes: int) -> AsyncGenerator[str, None]:
        """Local paths of the files at or below a place, each when it is there."""
        self.check_open()
        found = await self._matching(place)
        if not found:
            raise FileMissing(missing(place.path))
        folder = await self._pace.call(self._downloads.make)
        try:
            for file in found:
                target = folder / _relative(file.path, place)
                await self._fetch(file.path, target, piece_bytes)
                yield str(target)
        except GeneratorExit:
            raise  # whoever has enough keeps what they got
        except BaseException:
            await self._pace.call(self._downloads.remove, folder)
            raise

    async def upload(self, paths: Sequence[str | os.PathLike[str]], chunk_bytes: int) -> str | None:
        """Puts files of this machine into ``out/``."""
        self.check_open()
        sources = await self._pace.call(sources_of, paths)
        return await self._access.upload(sources, chunk_bytes) if sources else None

    async def remove(self, place: Place) -> bool:
        """Removes a file or a folder."""
        self.check_open()
        await self._access.remove(place.path)
        return True

    def read(self, place: Place, piece_bytes: int) -> AsyncGenerator[bytes, None]:
        """A file's content."""
        self.check_open()
        return self._access.read(place.path, piece_bytes)

    async def close(self) -> None:
        """Ends connections; what was downloaded stays to the end of the run."""
        self._closed = True
        await self._access.close()

    def check_open(self) -> None:
        """Refuses work after the end.

        Raises:
            RuntimeError: it was closed.
        """
        if self._closed:
            raise RuntimeError("This file system is closed; ask the tracer for another one.")

    async def _matching(self, place: Place) -> list[RunFile]:
        files = await self._access.below(place.root)
        if not place.rest:
            return files
        return [file for file in files if file.path == place.path or file.path.startswith(place.path + "/")]

    async def _fetch(self, path: str, target: Path, piece_bytes: int) -> None:
        await self._pace.call(_make_empty, target)
        async with aclosing(self._access.read(path, piece_bytes)) as pieces:
            async for piece in pieces:
                await self._pace.call(_append, target, piece)


def place_of(path: str | os.PathLike[str]) -> Place:
    """A file or folder below a root, or a root.

    Raises:
        BadPath: it is no such path.
    """
    text = os.fspath(path).removesuffix("/")
    root, _, rest = text.partition("/")
    if root not in ROOTS:
        raise BadPath(f"The path {text[:60]!r} cannot be used: it must begin with in/ or out/.")
    return Place(root, checked(rest, "path") if rest else "")


def place_below(path: str | os.PathLike[str]) -> Place:
    """A file or folder below a root.

    Raises:
        BadPath: it is no such path, or a root itself.
    """
    place = place_of(path)
    if not place.rest:
        raise BadPath(f"The path {place.path!r} cannot be used: it must name a file or folder below it.")
    return place


def _relative(path: str, place: Place) -> str:
    # What a panel says is checked too: it must not lead out of the temporary folder.
    rest = checked(path.partition("/")[2])
    return rest.removeprefix(place.rest).removeprefix("/") or rest.rpartition("/")[2]


def _make_empty(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.touch()


def _append(target: Path, piece: bytes) -> None:
    with target.open("ab") as file:
        file.write(piece)
