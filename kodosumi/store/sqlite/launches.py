"""What durable runs are started with, a file each: in a folder of their own, so that no list and no index sees them.

A launch comes before its execution's first event, and its execution may never have one. The folder's name begins with
a dot: it is no user's.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from ...error import ExecutionNotFound, StoreError
from .connection import translated
from .names import is_safe

FOLDER = ".launches"
_UNFINISHED = ".part-"


class Launches:
    """The kept launches of a store.

    Args:
        exec_dir: folder of all executions.
    """

    def __init__(self, exec_dir: Path) -> None:
        self._folder = exec_dir / FOLDER

    def keep(self, fid: str, launch: bytes) -> None:
        """Writes a launch as a whole or not at all; one that is there already stays as it is.

        Raises:
            StoreUnavailable: it can't be written now. StoreError: the id can't be a file's name.
        """
        if not is_safe(fid):
            raise StoreError(f"The launch of {fid!r} cannot be kept: this cannot be a file's name.")
        path = self._folder / fid
        with translated(path):
            if path.exists():
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, prefix=_UNFINISHED) as unfinished:
                unfinished.write(launch)
                unfinished.flush()
                # Its name must never lead to half of it, not even after a loss of power.
                os.fsync(unfinished.fileno())
                with contextlib.suppress(FileExistsError):
                    os.link(unfinished.name, path)

    def read(self, fid: str) -> bytes:
        """What was kept.

        Raises:
            ExecutionNotFound: nothing is. StoreUnavailable: it can't be read now.
        """
        if not is_safe(fid):
            raise ExecutionNotFound(fid)
        path = self._folder / fid
        with translated(path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                raise ExecutionNotFound(fid) from None

    def drop(self, fid: str) -> None:
        """Removes a launch; one that isn't there is fine."""
        if is_safe(fid):
            path = self._folder / fid
            with translated(path):
                path.unlink(missing_ok=True)

    def kept_before(self, before: float) -> list[str]:
        """Ids of the launches kept before a moment; what a dead process left unfinished by then is removed."""
        found = []
        with translated(self._folder):
            try:
                entries = list(os.scandir(self._folder))
            except FileNotFoundError:
                return []
            for entry in entries:
                try:
                    if entry.stat(follow_symlinks=False).st_mtime >= before:
                        continue
                    if entry.name.startswith(_UNFINISHED):
                        Path(entry.path).unlink(missing_ok=True)
                    else:
                        found.append(entry.name)
                except FileNotFoundError:
                    continue
        return found
