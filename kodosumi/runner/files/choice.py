"""Which way a process reaches a run's files: the store's folder where that is on this machine, else the panel."""

from __future__ import annotations

from pathlib import Path

from ...error import FilesUnavailable
from ...files.base import MARK
from ...files.paths import checked
from ..spec import RunFiles
from .system import AsyncFileSystem, RunFolder, SyncFileSystem


def open_files(fid: str, username: str, run_files: RunFiles) -> AsyncFileSystem:
    """A run's files. Asks nobody: a panel that can't be reached shows when a file is asked for.

    Args:
        fid: of the run. username: role id of its owner. run_files: how it reaches its files.

    Raises:
        FilesUnavailable: there is no way to them from here; the text says what to do.
    """
    return AsyncFileSystem(fid, run_files.panel_url, run_files.token, folder=_folder(fid, username, run_files))


def open_files_sync(fid: str, username: str, run_files: RunFiles) -> SyncFileSystem:
    """:func:`open_files` for plain code."""
    return SyncFileSystem(fid, run_files.panel_url, run_files.token, folder=_folder(fid, username, run_files))


def _folder(fid: str, username: str, files: RunFiles) -> RunFolder | None:
    """The run's folder, None when the panel has to be asked."""
    if files.root and _is_here(files):
        return RunFolder(Path(files.root), (checked(username, "role id"), checked(fid, "execution id")))
    if files.panel_url and files.token:
        return None
    if files.root:
        raise FilesUnavailable(
            f"The files of run {fid} lie in {files.root} on another machine, and no panel is known to ask for them: "
            "launch it through a panel, or run this code where that folder is."
        )
    raise FilesUnavailable(f"Run {fid} has no files: it was launched without a panel, or not as a request's first one.")


def _is_here(files: RunFiles) -> bool:
    if not files.mark:
        return True
    try:
        return (Path(files.root) / MARK).read_text().strip() == files.mark.strip()
    except (OSError, UnicodeError):
        return False
