"""Files in S3-compatible storage, for panels, spoolers and runs that share no folder.

Endpoint, region and keys come from the usual ``AWS_*`` variables, which the library (obstore) reads itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from ..config import Settings
from ..error import BadPath, ConfigurationError, FileMissing
from .base import OWN_PREFIXES, PIECE_BYTES, FileInfo, FileStore
from .paths import checked
from .s3_errors import Translator
from .streams import chained, gathered

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import S3Store

SETTINGS_NAME = "KODO_FILE_STORE"
UPLOADS = ".uploads"
"""Folder of uploads in progress, below the prefix; no role has such an id."""

PART_BYTES = 8_388_608
"""A larger file is sent in parts of this size; there may be 10,000, so 80 GB is the largest file."""

_PARTS_AT_ONCE = 2
_MAX_KEY_BYTES = 1_024
_REQUEST_S = 60
_PIECE_S = 60.0
"""Longest wait for the next piece of a file that is being read."""

_WHOLE_READ = timedelta(days=7)
"""The library ends a read after this time even while it goes on; a slow reader must not be cut off."""

_RETRY: Any = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=4), "base": 2},
}


class S3FileStore:
    """See :class:`~kodosumi.files.base.FileStore`. Making one connects to nothing.

    A name may be a file and a folder here, as a bucket knows no folders; keys have 1,024 bytes at most.

    Args:
        bucket: that exists already. prefix: of all keys, "" for none.

    Raises:
        ConfigurationError: the library is missing, or an ``AWS_*`` variable can't be read.
    """

    name = "s3"

    def __init__(self, bucket: str, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._translated = Translator(bucket)
        self._store = _connected(bucket, timedelta(seconds=_REQUEST_S))
        self._reading = _connected(bucket, _WHOLE_READ)

    @classmethod
    def from_settings(cls, settings: Settings) -> S3FileStore:
        """The store at ``KODO_FILE_STORE``."""
        return cls(*_place(settings))

    @classmethod
    def uploads_from_settings(cls, settings: Settings) -> S3FileStore:
        """The store of uploads below it."""
        bucket, prefix = _place(settings)
        return cls(bucket, f"{prefix}/{UPLOADS}" if prefix else UPLOADS)

    async def list(self, folder: str) -> list[FileInfo]:
        begin = f"{self._full(folder)}/" if folder else self._prefix
        found = []
        with self._translated(folder):
            async for batch in self._store.list(begin.rstrip("/") or None):
                for meta in batch:
                    path = meta["path"].removeprefix(begin)
                    if _is_told(path):
                        found.append(_info(path, meta))
        return sorted(found)

    async def info(self, key: str) -> FileInfo:
        full = self._full(key)
        with self._translated(key):
            return _info(_last(key), await self._store.head_async(full))

    async def read(self, key: str, start: int = 0, end: int | None = None) -> S3FileStream:
        full, start = self._full(key), max(start, 0)
        with self._translated(key):
            async with asyncio.timeout(_PIECE_S):
                if not start and end is None:
                    result = await self._reading.get_async(full)
                else:
                    info, part = await self._ranged(full, start, end)
                    if part is None:
                        return S3FileStream(info, None, self._translated)
                    result = part
        return S3FileStream(_info(_last(key), result.meta), result, self._translated)

    async def write(self, key: str, content: AsyncIterable[bytes]) -> FileInfo:
        full, source = self._full(key), _Source(content)
        sending = asyncio.ensure_future(self._put(full, source))
        try:
            with self._translated(key):
                result = await asyncio.shield(sending)
        except asyncio.CancelledError:
            # the library leaves the parts in the bucket when it is cancelled; when the content breaks it removes them
            source.stop()
            await asyncio.wait([sending])
            raise
        except Exception:
            if source.error is not None:
                # whoever gave the content knows its errors better than the library that passed them on
                raise source.error from None
            raise
        return FileInfo(_last(key), source.size, time.time(), _etag(result))

    async def join(self, key: str, source: FileStore, parts: Sequence[str]) -> FileInfo:
        if len(parts) == 1 and isinstance(source, S3FileStore) and source._bucket == self._bucket:
            full, original = self._full(key), source._full(parts[0])
            with self._translated(parts[0]):
                await self._store.copy_async(original, full)
            return await self.info(key)
        return await self.write(key, chained(source, parts))

    async def remove(self, key: str) -> int:
        full = self._full(key)
        gone = [f"{full}/{found.path}" for found in await self.list(key)]
        with contextlib.suppress(FileMissing):
            await self.info(key)
            gone.append(full)
        if gone:
            with self._translated(key):
                await self._store.delete_async(gone)
        return len(gone)

    def local(self, key: str) -> Path | None:
        checked(key or "all", "key")
        return None

    def mark(self) -> str:
        return ""

    async def check(self) -> None:
        full = f"{self._prefix}{OWN_PREFIXES[0]}-check-{uuid.uuid4().hex}"
        with self._translated("a file"):
            await self._store.put_async(full, b"check")
            await self._store.delete_async(full)

    async def close(self) -> None:
        """The library closes its connections by itself when they are idle."""

    async def _put(self, full: str, source: _Source) -> Any:
        pieces = gathered(source)
        first: list[bytes] = []
        size = 0
        async for piece in pieces:
            first.append(piece)
            size += len(piece)
            if size > PART_BYTES:
                break
        else:
            return await self._store.put_async(full, b"".join(first), use_multipart=False)
        return await self._store.put_async(
            full, _resumed(first, pieces), chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE
        )

    async def _ranged(self, full: str, start: int, end: int | None) -> tuple[FileInfo, GetResult | None]:
        """A part of a file; None when nothing of it lies in the range, which storages refuse, each in its own way."""
        from obstore.exceptions import PreconditionError

        while True:
            meta = await self._store.head_async(full)
            last = meta["size"] if end is None else min(end, meta["size"])
            if start >= last:
                return _info(_last(full), meta), None
            options: Any = {"range": (start, last)} | ({"if_match": meta["e_tag"]} if meta["e_tag"] else {})
            try:
                return _info(_last(full), meta), await self._reading.get_async(full, options=options)
            except PreconditionError:
                # somebody replaced the file in between: the range is one of the new file then
                continue

    def _full(self, key: str) -> str:
        full = self._prefix + checked(key, "key")
        if len(full.encode()) > _MAX_KEY_BYTES:
            raise BadPath(f"{key[:60]}… cannot be used: S3 takes names of {_MAX_KEY_BYTES} bytes at most.")
        return full


class S3FileStream:
    """See :class:`~kodosumi.files.base.FileStream`."""

    def __init__(self, info: FileInfo, result: GetResult | None, translated: Translator) -> None:
        self.info = info
        self._stream = result.stream(min_chunk_size=PIECE_BYTES) if result is not None else None
        self._translated = translated

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._stream is None:
            raise StopAsyncIteration
        try:
            with self._translated(self.info.path):
                async with asyncio.timeout(_PIECE_S):
                    piece = await self._stream.__anext__()
        except BaseException:
            self._stream = None
            raise
        return bytes(piece)

    async def aclose(self) -> None:
        # what is left of it is dropped with its connection
        self._stream = None


class _Source:
    """Content on its way to the storage: counted, its own error kept, and ended from outside."""

    def __init__(self, content: AsyncIterable[bytes]) -> None:
        self.size = 0
        self.error: BaseException | None = None
        self._content = content
        self._waiting: asyncio.Task[Any] | None = None
        self._stopped = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            self._wait()
            async for piece in self._content:
                self.size += len(piece)
                self._waiting = None
                yield piece
                self._wait()
        except BaseException as exc:
            self.error = exc
            raise

    def stop(self) -> None:
        """Breaks the content where it is."""
        self._stopped = True
        if self._waiting is not None:
            self._waiting.cancel()

    def _wait(self) -> None:
        if self._stopped:
            raise asyncio.CancelledError
        self._waiting = asyncio.current_task()


async def _resumed(first: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while first:
        yield first.pop(0)
    async for piece in rest:
        yield piece


def _connected(bucket: str, timeout: timedelta) -> S3Store:
    try:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store
    except ImportError:
        raise ConfigurationError(f"{SETTINGS_NAME}=s3://…: its library is missing, install `kodosumi[s3]`.") from None
    try:
        # An endpoint of one's own may be plain HTTP; Amazon's never is.
        return S3Store(bucket, client_options={"allow_http": True, "timeout": timeout}, retry_config=_RETRY)
    except (BaseError, ValueError) as exc:
        reason = str(exc).partition("\n")[0]
        raise ConfigurationError(f"{SETTINGS_NAME}=s3://{bucket}: an AWS_* variable cannot be used: {reason}") from exc


def _place(settings: Settings) -> tuple[str, str]:
    """Bucket and prefix of ``KODO_FILE_STORE``."""
    url = urlsplit(settings.file_store or "")
    prefix = url.path.strip("/")
    try:
        if not url.netloc or url.query or url.fragment or "@" in url.netloc:
            raise BadPath("say s3://bucket or s3://bucket/prefix, and the keys in AWS_* variables.")
        return url.netloc, checked(prefix, "prefix") if prefix else ""
    except BadPath as exc:
        # without its value, which may hold a key
        raise ConfigurationError(f"{SETTINGS_NAME}: {exc}") from None


def _is_told(path: str) -> bool:
    try:
        return checked(path) == path and not path.startswith(f"{UPLOADS}/")
    except BadPath:
        return False


def _info(path: str, meta: Any) -> FileInfo:
    return FileInfo(path, meta["size"], meta["last_modified"].timestamp(), _etag(meta))


def _etag(meta: Any) -> str:
    return str(meta["e_tag"] or meta.get("version") or "").removeprefix("W/").strip('"')


def _last(key: str) -> str:
    return key.rpartition("/")[2]
