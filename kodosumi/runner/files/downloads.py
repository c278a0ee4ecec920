"""Folders that downloads are put into, ``kodosumi-*`` in the system's temporary folder, and their removal.

They stay when their file system is closed, since the paths are the caller's then; they go at the end of the run
(:func:`remove_downloads`), in a remote task at the end of its process.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from pathlib import Path

PREFIX = "kodosumi-"

_folders: dict[str, set[Path]] = {}
_lock = threading.Lock()


class Downloads:
    """The folders of one file system. Methods block.

    Args:
        fid: of its run.
    """

    def __init__(self, fid: str) -> None:
        self._fid = fid

    def make(self) -> Path:
        """A fresh folder."""
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        with _lock:
            _folders.setdefault(self._fid, set()).add(folder)
        return folder

    def remove(self, folder: Path) -> None:
        """Removes one with all in it; idempotent."""
        with _lock:
            others = _folders.get(self._fid, set())
            others.discard(folder)
            if not others:
                _folders.pop(self._fid, None)
        shutil.rmtree(folder, ignore_errors=True)


def remove_downloads(fid: str) -> None:
    """Removes what file systems of a run have downloaded in this process."""
    with _lock:
        folders = _folders.pop(fid, set())
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@atexit.register
def _remove_rest() -> None:
    for fid in list(_folders):
        remove_downloads(fid)
