"""How much of ``KODO_UPLOAD_QUOTA`` is left to a user: counted in the store of uploads, so all panel processes agree.

Counting means listing, so a count is used for as long as nobody can have filled what is left meanwhile. Whoever seems
to be over the quota is counted again, exactly, before that is said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ...files import FileStore
from ..errors import ApiError

INFO = "info.json"
"""Name of the file that makes a folder of the store an upload."""

DONE_SUFFIX = "-done"
"""End of the folder's name that remembers a complete upload."""

MAX_UPLOADS = 50_000
"""Uploads one user may have in progress: each is a folder, however small."""

SHORTEST_S, LONGEST_S = 1.0, 30.0
_FASTEST_BYTES_PER_S = 500_000_000


@dataclass(slots=True)
class _Usage:
    """What one user has in the store: as counted, and what came since."""

    uploads: int = 0
    stored_bytes: int = 0
    added_bytes: int = 0
    writing_bytes: int = 0
    counted_at: float = 0.0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def total_bytes(self) -> int:
        return self.stored_bytes + self.added_bytes

    def is_stale(self, quota_bytes: int) -> bool:
        left_s = (quota_bytes - self.total_bytes) / _FASTEST_BYTES_PER_S
        return time.monotonic() - self.counted_at > min(max(left_s, SHORTEST_S), LONGEST_S)


class UploadQuota:
    """The quota of every user.

    Args:
        store: of uploads. quota_bytes: of chunks that one user may have in it.
    """

    def __init__(self, store: FileStore, quota_bytes: int) -> None:
        self._store = store
        self._quota_bytes = quota_bytes
        self._users: dict[str, _Usage] = {}

    @asynccontextmanager
    async def room(self, owner: str, chunk: str, size_bytes: int) -> AsyncGenerator[None]:
        """Keeps room for a chunk while the block writes it.

        Args:
            owner: role id. chunk: its key below the owner's; one that it replaces makes room. size_bytes: of it.

        Raises:
            ApiError: 413, there is none.
        """
        usage = self._users.setdefault(owner, _Usage())
        async with usage.lock:
            await self._make_sure(owner, usage, chunk, size_bytes)
            usage.added_bytes += size_bytes
            usage.writing_bytes += size_bytes
            usage.idle.clear()
        try:
            yield
        except BaseException:
            usage.added_bytes -= size_bytes
            raise
        finally:
            usage.writing_bytes -= size_bytes
            if not usage.writing_bytes:
                usage.idle.set()

    async def one_more(self, owner: str) -> None:
        """Counts an upload that begins.

        Raises:
            ApiError: 413, there are too many.
        """
        usage = self._users.setdefault(owner, _Usage())
        async with usage.lock:
            if usage.is_stale(self._quota_bytes) or usage.uploads >= MAX_UPLOADS:
                await self._count(owner, usage)
            if usage.uploads >= MAX_UPLOADS:
                raise ApiError(413, f"At most {MAX_UPLOADS:,} uploads may be in progress: complete or cancel some.")
            usage.uploads += 1

    def freed(self, owner: str) -> None:
        """Something of this user's went away: the next question counts again."""
        if (usage := self._users.get(owner)) is not None:
            usage.counted_at = 0.0

    async def _make_sure(self, owner: str, usage: _Usage, chunk: str, size_bytes: int) -> None:
        if usage.is_stale(self._quota_bytes):
            await self._count(owner, usage)
        if usage.total_bytes + size_bytes <= self._quota_bytes:
            return
        # A chunk that is being written may replace one that was there, or have been counted twice.
        if usage.writing_bytes:
            await usage.idle.wait()
        replaced_bytes = (await self._count(owner, usage)).get(chunk, 0)
        if usage.total_bytes + size_bytes - replaced_bytes > self._quota_bytes:
            raise ApiError(
                413,
                f"Your uploads in progress have {usage.total_bytes:,} bytes; with this chunk they would have more "
                f"than the {self._quota_bytes:,} allowed (KODO_UPLOAD_QUOTA). Complete or cancel some first.",
            )

    async def _count(self, owner: str, usage: _Usage) -> dict[str, int]:
        writing = usage.writing_bytes
        found = await self._store.list(owner)
        chunks = {file.path: file.size for file in found if not file.path.endswith(f"/{INFO}")}
        begun = [file for file in found if file.path.endswith(f"/{INFO}") and DONE_SUFFIX not in file.path]
        usage.uploads, usage.stored_bytes, usage.added_bytes = len(begun), sum(chunks.values()), writing
        usage.counted_at = time.monotonic()
        return chunks
