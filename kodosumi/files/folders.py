"""Folders on disk, walked by descriptors: no link is followed below the root, not even one that is put there meanwhile.

All of it blocks; ``local.py`` calls it in threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..error import BadPath, FileMissing, FilesUnavailable
from .base import OWN_PREFIXES, FileInfo
from .paths import MAX_CHARACTERS, MAX_DEPTH, part_fault

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Opening a named pipe must not wait for somebody to write into it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ATTEMPTS = 100
_KEPT_PARTS = 1
"""Folders of roles stay when they are empty."""

_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def translated(key: str, *, writing: bool = False) -> Iterator[None]:
    """Raises what the operating system says as our errors, the cause kept.

    Raises:
        FileMissing: there is no such file. BadPath: it can't be written under this name. FilesUnavailable: all else.
    """
    try:
        yield
    except OSError as exc:
        if isinstance(exc, FileMissing):
            raise
        raise _translate(exc, key, writing) from exc


def _translate(exc: OSError, key: str, writing: bool) -> Exception:
    if exc.errno == errno.ENAMETOOLONG:
        return BadPath(f"{key} cannot be used: the name is too long for the file system.")
    if not writing and exc.errno in _MISSING:
        return FileMissing(f"{key} does not exist.")
    if writing and exc.errno in (errno.ENOTDIR, errno.ELOOP):
        return BadPath(f"{key} cannot be written: a part of it is a file or a link.")
    if writing and exc.errno in (errno.EISDIR, errno.ENOTEMPTY):
        return BadPath(f"{key} cannot be written: there is a folder of this name.")
    if exc.errno in _FULL:
        return FilesUnavailable(f"{key} cannot be written: no space is left on the device.")
    if writing and exc.errno == errno.ENOENT:
        return FilesUnavailable(f"{key} cannot be written: its folder was removed meanwhile.")
    return FilesUnavailable(f"{key} cannot be used: {exc.strerror or exc}.")


@contextlib.contextmanager
def _absent_is_fine() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno not in _MISSING:
            raise


@contextlib.contextmanager
def opened_folder(root: Path, parts: Sequence[str], *, create: bool = False) -> Iterator[int]:
    """A descriptor of a folder below the root.

    Raises:
        OSError: there is none, or a part of it is a link.
    """
    descriptor = open_folder(root, parts, create=create)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_folder(root: Path, parts: Sequence[str], *, create: bool = False) -> int:
    """As :func:`opened_folder`, closed by the caller."""
    for last in [False] * (_ATTEMPTS - 1) + [True]:
        try:
            return _open_folder(root, parts, create)
        except FileNotFoundError:
            # with create: somebody removed a folder, which was empty, in this very moment
            if last or not create:
                raise
    raise AssertionError("unreachable")


def _open_folder(root: Path, parts: Sequence[str], create: bool) -> int:
    if create:
        root.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            below = _open_below(descriptor, part, create)
            os.close(descriptor)
            descriptor = below
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open_below(descriptor: int, name: str, create: bool) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=descriptor)
    except FileNotFoundError:
        if not create:
            raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=descriptor)
        return os.open(name, _FOLDER, dir_fd=descriptor)


def open_file(root: Path, parts: Sequence[str]) -> tuple[int, FileInfo]:
    """A descriptor of a plain file, closed by the caller, and what it is.

    Raises:
        OSError: there is none, or it is something else.
    """
    with opened_folder(root, parts[:-1]) as folder:
        descriptor = os.open(parts[-1], _FILE, dir_fd=folder)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise FileNotFoundError(errno.ENOENT, "not a plain file")
        return descriptor, info_of(parts[-1], found)
    except BaseException:
        os.close(descriptor)
        raise


def file_info(root: Path, parts: Sequence[str]) -> FileInfo:
    """What a plain file is.

    Raises:
        OSError: there is none, or it is something else.
    """
    with opened_folder(root, parts[:-1]) as folder:
        found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(found.st_mode):
        raise FileNotFoundError(errno.ENOENT, "not a plain file")
    return info_of(parts[-1], found)


def info_of(path: str, found: os.stat_result) -> FileInfo:
    """What is told of a file."""
    etag = f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"
    return FileInfo(path, found.st_size, found.st_mtime_ns / 1e9, etag)


def files_below(root: Path, parts: Sequence[str]) -> list[FileInfo]:
    """All plain files below a folder; [] when it isn't there."""
    found: list[FileInfo] = []
    with _absent_is_fine(), opened_folder(root, parts) as folder:
        _walk(folder, "", MAX_DEPTH - len(parts), found)
    return sorted(found)


def _walk(folder: int, prefix: str, depth: int, found: list[FileInfo]) -> None:
    below: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith(OWN_PREFIXES) or part_fault(name):
                continue
            if entry.is_dir(follow_symlinks=False):
                below.append(name)
            elif entry.is_file(follow_symlinks=False) and len(prefix) + len(name) <= MAX_CHARACTERS:
                with contextlib.suppress(FileNotFoundError):
                    found.append(info_of(prefix + name, entry.stat(follow_symlinks=False)))
    for name in below if depth > 1 else ():
        with _absent_is_fine():
            descriptor = os.open(name, _FOLDER, dir_fd=folder)
            try:
                _walk(descriptor, f"{prefix}{name}/", depth - 1, found)
            finally:
                os.close(descriptor)


def remove(root: Path, parts: Sequence[str]) -> int:
    """Removes a file or a folder, and folders above that are empty then; how many plain files that were."""
    removed = 0
    with _absent_is_fine():
        with opened_folder(root, parts[:-1]) as folder:
            removed = _remove(folder, parts[-1])
        _prune(root, parts[:-1])
    return removed


def _remove(folder: int, name: str) -> int:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            os.unlink(name, dir_fd=folder)
            return int(stat.S_ISREG(mode) and not name.startswith(OWN_PREFIXES))
    except FileNotFoundError:
        return 0
    removed = 0
    for last in [False] * (_ATTEMPTS - 1) + [True]:
        try:
            removed += _empty(folder, name)
            os.rmdir(name, dir_fd=folder)
        except FileNotFoundError:
            break
        except OSError as exc:
            # somebody may have put a file into it while we were removing
            if last or exc.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            break
    return removed


def _empty(folder: int, name: str) -> int:
    descriptor = os.open(name, _FOLDER, dir_fd=folder)
    try:
        with os.scandir(descriptor) as entries:
            names = [entry.name for entry in entries]
        return sum(_remove(descriptor, below) for below in names)
    finally:
        os.close(descriptor)


def _prune(root: Path, parts: Sequence[str]) -> None:
    """Removes folders that are empty, from the lowest up."""
    for depth in range(len(parts), _KEPT_PARTS, -1):
        with opened_folder(root, parts[: depth - 1]) as folder:
            try:
                os.rmdir(parts[depth - 1], dir_fd=folder)
            except FileNotFoundError:
                continue
            except OSError:
                # it isn't empty
                return
