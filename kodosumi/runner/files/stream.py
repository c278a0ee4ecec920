"""One file of a run, to be read once or several times: what ``open`` gives."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from types import TracebackType

from .operations import Operations, Place
from .pace import drawn, driven


class Stream:
    """What both kinds of streams do.

    Args:
        operations: of the file system. place: of the file. piece_bytes: of what is read at once.
    """

    def __init__(self, operations: Operations, place: Place, piece_bytes: int) -> None:
        self._operations = operations
        self._place = place
        self._piece_bytes = piece_bytes
        self._entered = self._closed = False
        self._reading: set[AsyncGenerator[bytes, None]] = set()

    def enter(self) -> None:
        """Begins a block.

        Raises:
            RuntimeError: there was one before, or the stream is closed.
        """
        self._check()
        if self._entered:
            raise RuntimeError(f"{self._place.path} was entered before; open it again.")
        self._entered = True

    def read(self) -> AsyncGenerator[bytes, None]:
        """The content, from its begin.

        Raises:
            RuntimeError: the stream is closed, also while it is read.
        """
        self._check()
        return self._read()

    async def read_all(self) -> bytes:
        """The whole content."""
        async with aclosing(self.read()) as pieces:
            return b"".join([piece async for piece in pieces])

    async def remove(self) -> bool:
        """Removes the file, and ends the stream."""
        self._check()
        removed = await self._operations.remove(self._place)
        await self.close()
        return removed

    async def close(self) -> None:
        """Ends the stream; idempotent."""
        self._closed = True
        for pieces in list(self._reading):
            with contextlib.suppress(RuntimeError):  # another task is just reading a piece, and ends itself after it
                await pieces.aclose()

    async def _read(self) -> AsyncGenerator[bytes, None]:
        self._check()
        async with aclosing(self._operations.read(self._place, self._piece_bytes)) as pieces:
            self._reading.add(pieces)
            try:
                async for piece in pieces:
                    yield piece
                    self._check()  # closed meanwhile: what was read must not look like the whole
            finally:
                self._reading.discard(pieces)

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError(f"The stream of {self._place.path} is closed; open it again.")


class AsyncFileStream:
    """A file of the run; nothing is connected before it is read.

    Raises:
        FileNotFoundError: by reading and ``remove``, there is no such file.
        RuntimeError: by all but ``close``, it is closed; by entering it a second time.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def read(self) -> AsyncGenerator[bytes, None]:
        """The content in pieces of the file system's ``chunk_size``, from its begin."""
        return self._stream.read()

    async def read_all(self) -> bytes:
        """The whole content."""
        return await self._stream.read_all()

    async def remove(self) -> bool:
        """Removes the file, and closes this: True."""
        return await self._stream.remove()

    async def close(self) -> None:
        """Ends the connection; idempotent."""
        await self._stream.close()

    async def __aenter__(self) -> AsyncFileStream:
        self._stream.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class SyncFileStream:
    """As :class:`AsyncFileStream`, for plain code."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def read(self) -> Generator[bytes, None, None]:
        """The content in pieces of the file system's ``chunk_size``, from its begin."""
        return drawn(self._stream.read())

    def read_all(self) -> bytes:
        """The whole content."""
        return driven(self._stream.read_all())

    def remove(self) -> bool:
        """Removes the file, and closes this: True."""
        return driven(self._stream.remove())

    def close(self) -> None:
        """Ends the connection; idempotent."""
        driven(self._stream.close())

    def __enter__(self) -> SyncFileStream:
        self._stream.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
