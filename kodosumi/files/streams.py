"""Streams of bytes between callers and stores: small pieces gathered, several files as one."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence

from .base import PIECE_BYTES, FileStore


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
        FileMissing: one isn't there, once it's its turn.
    """
    for key in keys:
        stream = await source.read(key)
        try:
            async for piece in stream:
                yield piece
        finally:
            await stream.aclose()
