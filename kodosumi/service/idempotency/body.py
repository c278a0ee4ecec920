"""A request's body on its way to the app, and what tells it from another: SHA-256 of the query and the body."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import IO

from starlette.requests import ClientDisconnect

from ..errors import ApiError

Content = AsyncIterator[bytes] | bytes | None
"""What ``send_on`` takes."""

IN_MEMORY_BYTES = 1024 * 1024
"""A body that is kept until it's sent lies in a file beyond that."""

_PIECE_BYTES = 256 * 1024


class Noting:
    """A body that is sent as it comes, but for its end: that waits until the fingerprint is noted.

    So whatever an app makes of a whole request, it's known which request that was.

    Args:
        query: of the request. note: told the fingerprint, in hex.

    Attributes:
        noted: whether the app may have got all of the request.
    """

    def __init__(self, query: str, note: Callable[[str], Awaitable[None]]) -> None:
        self._digest = _begun(query)
        self._note = note
        self.noted = False

    async def content(self, content: Content) -> Content:
        """The body to send."""
        if isinstance(content, AsyncIterator):
            return self._pieces(content)
        self._digest.update(content or b"")
        await self._end()
        return content

    async def _pieces(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        last = b""
        async for chunk in chunks:
            if last and chunk:
                yield last
            self._digest.update(chunk)
            last = chunk or last
        await self._end()
        yield last

    async def _end(self) -> None:
        await self._note(self._digest.hexdigest())
        self.noted = True


async def fingerprint_of(query: str, content: Content) -> str:
    """The fingerprint of a request that isn't sent on.

    Raises:
        ApiError: 400, the caller broke it off.
    """
    digest = _begun(query)
    async for chunk in _chunks(content):
        digest.update(chunk)
    return digest.hexdigest()


@asynccontextmanager
async def held_back(query: str, content: Content) -> AsyncGenerator[tuple[str, Content]]:
    """The fingerprint of a request, and its body, which is kept for as long as the block lasts.

    Raises:
        ApiError: 400, the caller broke it off.
    """
    if not isinstance(content, AsyncIterator):
        yield await fingerprint_of(query, content), content
        return
    digest = _begun(query)
    with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as kept:
        async for chunk in _chunks(content):
            digest.update(chunk)
            await asyncio.to_thread(kept.write, chunk)
        await asyncio.to_thread(kept.seek, 0)
        yield digest.hexdigest(), _read(kept)


def _begun(query: str) -> hashlib._Hash:
    return hashlib.sha256(query.encode("utf-8", "surrogateescape") + b"\0")


async def _chunks(content: Content) -> AsyncGenerator[bytes]:
    if not isinstance(content, AsyncIterator):
        yield content or b""
        return
    try:
        async for chunk in content:
            yield chunk
    except ClientDisconnect:
        raise ApiError(400, "The request was broken off.") from None


async def _read(kept: IO[bytes]) -> AsyncGenerator[bytes]:
    while piece := await asyncio.to_thread(kept.read, _PIECE_BYTES):
        yield piece
