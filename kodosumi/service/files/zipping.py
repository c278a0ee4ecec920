"""A folder as one ZIP file, made while it is sent: no copy on disk, a few MiB in memory, whatever the folder's size.

Files are stored, not compressed: what is large is compressed already, as a rule, and the panel serves others meanwhile.
Sizes and checksums follow each file (bit 3 of the flags), large files in ZIP64.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from ...error import FileMissing
from ...files import FileInfo, FileStore

_ZIP64_FROM_BYTES = 2_000_000_000
_FIRST_YEAR, _LAST_YEAR = 1980, 2107


class _Outbox:
    """What :mod:`zipfile` writes to; it can't be rewound, so nothing is corrected afterwards."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None: ...

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def zipped(store: FileStore, folder: str, files: Sequence[FileInfo]) -> AsyncGenerator[bytes]:
    """The bytes of a ZIP file.

    Args:
        store: of the files. folder: key of the folder. files: in it; what is gone when its turn comes is left out.
    """
    outbox = _Outbox()
    with zipfile.ZipFile(outbox, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:  # type: ignore[call-overload]
        for file in files:
            try:
                stream = await store.read(f"{folder}/{file.path}")
            except FileMissing:
                continue
            async with aclosing(stream):
                entry = _entry(stream.info, file.path)
                with archive.open(entry, "w", force_zip64=stream.info.size >= _ZIP64_FROM_BYTES) as sink:
                    async for piece in stream:
                        sink.write(piece)
                        yield outbox.taken()
            if content := outbox.taken():
                yield content
    yield outbox.taken()


def _entry(info: FileInfo, name: str) -> zipfile.ZipInfo:
    moment = time.gmtime(info.last_modified)
    year = min(max(moment.tm_year, _FIRST_YEAR), _LAST_YEAR)
    entry = zipfile.ZipInfo(name, (year, *moment[1:6]))
    entry.external_attr = 0o644 << 16
    return entry
