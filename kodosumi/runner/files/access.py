"""What a run's files are reached through: a folder of this machine (``folder.py``) or the panel (``panel.py``)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class RunFile(NamedTuple):
    """A file of the run.

    Attributes:
        path: with its root, as in ``in/report.pdf``. size: bytes. last_modified: seconds since the epoch.
    """

    path: str
    size: int
    last_modified: float


class Source(NamedTuple):
    """A file of this machine on its way into the run's ``out/``.

    Attributes:
        name: below ``out/``, checked. path: where it lies. size: bytes, as found when the upload began.
    """

    name: str
    path: Path
    size: int


class Access(Protocol):
    """One way to a run's files. Paths are checked, and begin with their root.

    All methods raise ``FilesUnavailable`` with the reason when the files can't be reached now.
    """

    async def below(self, root: str) -> list[RunFile]:
        """All files below a root, in order of their paths; [] when there are none."""
        ...

    def read(self, path: str, piece_bytes: int) -> AsyncGenerator[bytes, None]:
        """A file's content in pieces. What is replaced meanwhile is never mixed with what replaces it.

        Raises:
            FileMissing: before the first piece.
        """
        ...

    async def remove(self, path: str) -> None:
        """Removes a file, or a folder with all in it.

        Raises:
            FileMissing: there is neither.
        """
        ...

    async def upload(self, sources: Sequence[Source], chunk_bytes: int) -> str:
        """Puts files into ``out/`` when all of their content has arrived; who lists meanwhile sees whole files only.

        Returns:
            An id of this batch.
        """
        ...

    async def close(self) -> None:
        """Closes connections; idempotent."""
        ...


def missing(path: str) -> str:
    """The text of the error about a path that isn't there."""
    return f"{path} does not exist."


def changed(source: Source) -> str:
    """The text of the error about a file that became shorter while it was read."""
    return f"{source.path} was changed while it was uploaded; nothing of this upload was kept."
