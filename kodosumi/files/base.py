"""The contract of a file store: where the files of runs, and the parts of uploads in progress, are kept.

A member of this family is a file; all pass the suite in ``tests/file_store_contract.py``. A store knows nothing of
roles, runs or pages: its callers make the keys, and :mod:`kodosumi.files.paths` is where a name from outside becomes
a part of a key.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

ROOTS = ("in", "out")
"""Folders of a run's files: what it was given, and what it gives."""

MARK = ".kodosumi-files"
"""File in a local store's folder whose text is this store's alone: who sees it is on the same machine, or shares it."""

OWN_PREFIXES = (".kodosumi", ".part-")
"""Begins of names that stores use themselves, in any case: refused from outside, never listed."""

PIECE_BYTES = 1_048_576
"""About how many bytes a piece of a stream has."""


class FileInfo(NamedTuple):
    """One file.

    Attributes:
        path: relative to the folder that was asked for, with slashes.
        size: bytes.
        last_modified: seconds since the epoch.
        etag: changes with the content; without quotes.
    """

    path: str
    size: int
    last_modified: float
    etag: str


class FileStream(Protocol):
    """A file that is being read, once: pieces of bytes, of the content that it had when it was opened.

    Attributes:
        info: of the file that was opened, whatever has replaced it since.
    """

    info: FileInfo

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def aclose(self) -> None:
        """Gives up what it holds; done by itself at the end. Idempotent."""
        ...


class FileStore(Protocol):
    """A family member. Keys are relative paths with slashes that passed :func:`kodosumi.files.paths.checked`.

    All methods raise ``BadPath`` for what isn't a key, and ``FilesUnavailable`` with the reason when the storage can't
    be used now (down, disk full); what was begun then has left nothing that can be listed or read. None blocks the
    event loop, whatever the size. There are no empty folders: one comes with its first file and goes with its last.
    """

    name: str

    async def list(self, folder: str) -> list[FileInfo]:
        """All files below a folder, at any depth, in order of their paths; [] when there are none.

        Links aren't followed, and what isn't a plain file isn't told, nor what has a name that isn't a key.

        Args:
            folder: a key; "": everything there is.
        """
        ...

    async def info(self, key: str) -> FileInfo:
        """One file; ``path`` is its last part.

        Raises:
            FileMissing: there is none, or it is a folder.
        """
        ...

    async def read(self, key: str, start: int = 0, end: int | None = None) -> FileStream:
        """The bytes from ``start`` up to ``end`` (not included; None: to the end), in pieces of about a MiB.

        What lies behind the file's end is left out. Whoever doesn't read to the end calls ``aclose``.

        Raises:
            FileMissing: before the first piece.
        """
        ...

    async def write(self, key: str, content: AsyncIterable[bytes]) -> FileInfo:
        """Makes or replaces a file, as a whole or not at all: who reads meanwhile gets the old one to its end.

        When ``content`` raises, so does this, and nothing is kept. A later process sees what was written after the
        death of this one; a loss of power may take the last moments.

        Raises:
            BadPath: the key names a folder, or leads through a file or a link, where the storage knows of such.
        """
        ...

    async def join(self, key: str, source: FileStore, parts: Sequence[str]) -> FileInfo:
        """As :meth:`write`, from files of a store of the same family, in this order; they stay.

        Raises:
            FileMissing: one of them isn't there.
        """
        ...

    async def remove(self, key: str) -> int:
        """Removes a file, or a folder with all in it; idempotent. Links are removed, what they lead to is not.

        Returns:
            How many files that were.
        """
        ...

    def local(self, key: str) -> Path | None:
        """Where a file or folder lies on this machine, for whoever can use that; None when it lies elsewhere.

        Nothing is looked up; "" gives the folder of everything.
        """
        ...

    def mark(self) -> str:
        """What the file :data:`MARK` in ``local("")`` holds; "" for a store that isn't local.

        The first use makes the file, later ones touch nothing.

        Raises:
            FilesUnavailable: it can't be made or read.
        """
        ...

    async def check(self) -> None:
        """Proves that the storage can be written, by writing and removing something small."""
        ...

    async def close(self) -> None:
        """Releases connections and threads; idempotent."""
        ...
