"""A TCP proxy that fails on purpose, for tests of what happens when a network does."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType

_CHUNK_BYTES = 65_536


class Proxy:
    """Passes connections on to a server: ``async with Proxy(port) as proxy: connect to proxy.port``.

    Args:
        target_port: of the server, on this machine.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.connections = 0
        self.cuts = 0
        self.delay_s = 0.0
        self.refusing = False
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._pattern: bytes | None = None

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Breaks every connection now."""
        for writer in self._open:
            writer.transport.abort()

    def cut_after(self, pattern: bytes) -> None:
        """Once a client sends this, the server gets it, and the connection breaks in place of the answer."""
        self._pattern = pattern

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                if not self.refusing:
                    await self._pass_on(reader, writer)
        finally:
            self._open.discard(writer)
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self.connections += 1
        self._open.add(server_writer)
        matched = asyncio.Event()
        ways = [
            asyncio.ensure_future(self._requests(reader, server_writer, matched)),
            asyncio.ensure_future(self._answers(server_reader, writer, matched)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open.discard(server_writer)
            server_writer.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, matched: asyncio.Event
    ) -> None:
        last = b""
        while data := await reader.read(_CHUNK_BYTES):
            if self._pattern is not None and self._pattern in last + data:
                self._pattern = None
                matched.set()
            last = data[-64:]
            await asyncio.sleep(self.delay_s)
            writer.write(data)
            await writer.drain()

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, matched: asyncio.Event
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            if matched.is_set():
                self.cuts += 1
                return
            await asyncio.sleep(self.delay_s)
            writer.write(data)
            await writer.drain()
