"""Where an execution lies on disk. Ids and user names are data: none leads out of the store's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

DATABASE = "sqlite3.db"
INDEX = "index.db"
_MAX_NAME_BYTES = 200
_FORBIDDEN = frozenset("/\\\0:")


def is_safe(name: str) -> bool:
    """Whether a text can be the name of one folder, on any system, and of nothing else."""
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return False
    ordinary = 0 < size <= _MAX_NAME_BYTES and not name.startswith(".") and _FORBIDDEN.isdisjoint(name)
    return ordinary and not name.startswith(INDEX)


def folder_of(exec_dir: Path, username: str, fid: str) -> Path:
    """The folder of an execution: its events, ``in/`` and ``out/``. Both names must be safe."""
    return exec_dir / username / fid


def subfolders(folder: Path) -> Iterator[str]:
    """Names of real folders in a folder; links are left out, as they may lead anywhere."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and is_safe(entry.name):
                    yield entry.name
    except (FileNotFoundError, NotADirectoryError):
        return
