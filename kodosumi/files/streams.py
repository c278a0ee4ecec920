"""Streams of bytes between callers and stores: small pieces gathered, several files as one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence

from .base import PIECE_BYTES, FileStore, FileStream

_AHEAD = 4
"""Files that are opened before it's their turn: where each costs a request, the requests overlap."""


async def gathered(content: AsyncIterable[bytes], size_bytes: int = PIECE_BYTES) -> AsyncIterator[bytes]:
    """The same bytes in pieces of at least so many, but for the last; a large piece goes through as it is."""
    small: list[bytes] = []
    waiting = 0
    async for piece in content:
        if not small and len(piece) >= size_bytes:
            yield piece
            continue
        small.append(piece)
        waiting += len(piece)
        if waiting >= size_bytes:
            yield b"".join(small)
            small, waiting = [], 0
    if waiting:
        yield b"".join(small)


async def chained(source: FileStore, keys: Sequence[str]) -> AsyncIterator[bytes]:
    """The content of files of a store, one after the other.

    Raises:
        FileMissing: one isn't there.
    """
    opening: deque[asyncio.Task[FileStream]] = deque()
    rest = iter(keys)
    try:
        _open_some(source, rest, opening)
        while opening:
            stream = await opening[0]
            async for piece in stream:
                yield piece
            opening.popleft()
            _open_some(source, rest, opening)
    finally:
        for task in opening:
            task.cancel()
        for left in await asyncio.gather(*opening, return_exceptions=True):
            if not isinstance(left, BaseException):
                await left.aclose()


def _open_some(source: FileStore, keys: Iterable[str], opening: deque[asyncio.Task[FileStream]]) -> None:
    while len(opening) < _AHEAD and (key := next(iter(keys), None)) is not None:
        opening.append(asyncio.create_task(_opened(source, key)))


async def _opened(source: FileStore, key: str) -> FileStream:
    return await source.read(key)
