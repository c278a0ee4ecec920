"""A file on its way into a local folder: written under a name of its own, then put in place as a whole."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path

from ..error import FilesUnavailable
from .base import PIECE_BYTES, FileInfo
from .folders import info_of, open_file, open_folder, translated

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NAMELESS = os.O_WRONLY | os.O_CLOEXEC | getattr(os, "O_TMPFILE", 0)
"""A file that has no name until it's whole, so that the death of its writer leaves nothing. Not every system has it."""

_ATTEMPTS = 100
_COPY_BYTES = 67_108_864
_NO_QUICK_COPY = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EBADF)
_NO_NAMELESS = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT, errno.EPERM)
"""Not supported; the last two: the folder is being removed, which the named way tells from what can't be mended."""


class Part:
    """One file that is being written. Methods block, and may be called from any thread.

    Args:
        root: of the store. parts: of the key.
    """

    def __init__(self, root: Path, parts: Sequence[str]) -> None:
        self._root = root
        self._parts = parts
        self._key = "/".join(parts)
        self._name = f".part-{uuid.uuid4().hex}"
        self._named = self._nameless = False
        self._folder = self._file = -1
        self._over = False
        self._lock = threading.Lock()

    @property
    def ended(self) -> bool:
        """Whether nothing is left to be given up."""
        return self._over and self._file < 0

    def write(self, content: bytes | bytearray | memoryview) -> None:
        """Adds bytes."""
        with self._lock, translated(self._key, writing=True):
            file = self._opened()
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(file, rest) :]

    def copy(self, root: Path, sources: Sequence[Sequence[str]]) -> None:
        """Adds files of another folder, in order.

        Raises:
            FileMissing: one isn't there.
        """
        with self._lock:
            for parts in sources:
                with translated("/".join(parts)):
                    source, info = open_file(root, parts)
                try:
                    with translated(self._key, writing=True):
                        self._copy(source, info.size)
                finally:
                    os.close(source)

    def finish(self) -> FileInfo:
        """Puts the file in place of what had its name before."""
        with self._lock, translated(self._key, writing=True):
            file = self._opened()
            if self._nameless:
                self._give_name(file)
            if self._named:
                self._rename()
            info = info_of(self._parts[-1], os.fstat(file))
        self.discard()
        return info

    def discard(self) -> None:
        """Ends it; what wasn't put in place is removed. Waits for what is being written in another thread."""
        self._over = True
        with self._lock:
            folder, file, self._folder, self._file = self._folder, self._file, -1, -1
            if file >= 0:
                os.close(file)
            if folder >= 0:
                if self._named:
                    with contextlib.suppress(OSError):
                        os.unlink(self._name, dir_fd=folder)
                os.close(folder)

    def _opened(self) -> int:
        """The file's descriptor; made with the first use."""
        self._check()
        for last in [False] * (_ATTEMPTS - 1) + [True]:
            if self._file >= 0:
                break
            try:
                self._open()
            except FileNotFoundError:
                # somebody removed the folder, which was empty, in this very moment
                if last:
                    raise
        return self._file

    def _open(self) -> None:
        folder = open_folder(self._root, self._parts[:-1], create=True)
        try:
            self._file = self._made(folder)
        except BaseException:
            os.close(folder)
            raise
        self._folder = folder

    def _made(self, folder: int) -> int:
        if _NAMELESS & ~(os.O_WRONLY | os.O_CLOEXEC):
            try:
                file = os.open(".", _NAMELESS, 0o666, dir_fd=folder)
            except OSError as exc:
                if exc.errno not in _NO_NAMELESS:
                    raise
            else:
                self._nameless = True
                return file
        file = os.open(self._name, _NEW, 0o666, dir_fd=folder)
        self._named = True
        return file

    def _give_name(self, file: int) -> None:
        """Gives the final name to a file without one; a passing name when there is something of the final one."""
        for last in [False] * (_ATTEMPTS - 1) + [True]:
            name = self._name if self._named else self._parts[-1]
            try:
                os.link(f"/proc/self/fd/{file}", name, dst_dir_fd=self._folder, follow_symlinks=True)
            except FileExistsError:
                self._named = True
            except FileNotFoundError:
                # the folder looked empty, and somebody removed it
                if last:
                    raise
                os.close(self._folder)
                self._folder = -1
                self._folder = open_folder(self._root, self._parts[:-1], create=True)
            else:
                return
        raise FilesUnavailable(f"{self._key} cannot be written: its folder comes and goes.")

    def _check(self) -> None:
        if self._over:
            raise FilesUnavailable(f"{self._key} is not written any more.")

    def _rename(self) -> None:
        try:
            os.rename(self._name, self._parts[-1], src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except IsADirectoryError:
            # an empty folder is no folder; any other stays, and is the error
            os.rmdir(self._parts[-1], dir_fd=self._folder)
            os.rename(self._name, self._parts[-1], src_dir_fd=self._folder, dst_dir_fd=self._folder)
        self._named = False

    def _copy(self, source: int, size: int) -> None:
        file, place, quick = self._opened(), 0, hasattr(os, "copy_file_range")
        while place < size:
            self._check()
            if quick:
                try:
                    copied = os.copy_file_range(source, file, min(size - place, _COPY_BYTES), place)
                except OSError as exc:
                    if exc.errno not in _NO_QUICK_COPY:
                        raise
                    quick = False
                    continue
            else:
                copied = os.write(file, os.pread(source, PIECE_BYTES, place))
            if not copied:
                raise FilesUnavailable(f"{self._key} cannot be written: a part of it became shorter meanwhile.")
            place += copied
