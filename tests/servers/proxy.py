"""A TCP proxy that fails on purpose, for tests of what happens when a network does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from anyio.from_thread import start_blocking_portal

_CHUNK_BYTES = 65_536
_LONGEST_PATTERN = 64


@dataclass
class _Snare:
    """What is to happen once a client sends a pattern."""

    pattern: bytes
    then: Callable[[], None] | None
    answered: bool


@dataclass(eq=False)
class _Connection:
    """A client's connection and the one to the server that belongs to it; whether it has said one of the words."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    spoke: bool = False
    caught: list[_Snare] = field(default_factory=list)

    def cut(self) -> None:
        for writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """Passes connections on to a server: ``async with Proxy(port) as proxy: connect to proxy.port``.

    Args:
        target_port: of the server, on this machine.

    Attributes:
        connections: made so far. cuts: how often the network failed on a snare.
        delay_s: how long each piece takes, either way. chunk_bytes: how large a piece is at most.
        refusing: new connections end at once.
        words: whom :meth:`part` cuts off: clients that send one of these, else everybody.
        parted: they are cut off now.
        rewrite: makes of each piece of an answer what the client gets.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.connections = 0
        self.cuts = 0
        self.delay_s = 0.0
        self.chunk_bytes = _CHUNK_BYTES
        self.refusing = False
        self.words: Sequence[bytes] = ()
        self.parted = False
        self.rewrite: Callable[[bytes], bytes] = bytes
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._snare: _Snare | None = None

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
        for connection in list(self._open):
            connection.cut()

    def part(self) -> None:
        """Breaks connections now and lets nothing through until :meth:`heal`; see :attr:`words`."""
        self.parted = True
        for connection in list(self._open):
            if self._is_cut_off(connection):
                connection.cut()

    def heal(self) -> None:
        """Lets everybody through again."""
        self.parted = False

    def cut_after(self, pattern: bytes) -> None:
        """Once a client sends this, the server gets it, and the connection breaks in place of the answer."""
        self._snare = _Snare(pattern, None, answered=True)

    def before(self, pattern: bytes, then: Callable[[], None]) -> None:
        """Once a client sends this, ``then`` is called, and only then does the server get it, if it still can."""
        self._snare = _Snare(pattern, then, answered=False)

    def after(self, pattern: bytes, then: Callable[[], None]) -> None:
        """Once a server has answered this, ``then`` is called, and only then does the client get it, if it still can.

        The answer is what the server says first after the pattern.
        """
        self._snare = _Snare(pattern, then, answered=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                if not self.refusing:
                    await self._pass_on(reader, writer)
        finally:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self.connections += 1
        connection = _Connection(writer, server_writer)
        self._open.add(connection)
        ways = [
            asyncio.ensure_future(self._requests(reader, connection)),
            asyncio.ensure_future(self._answers(server_reader, connection)),
        ]
        try:
            if not self._is_cut_off(connection):
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._open.discard(connection)
            connection.cut()

    async def _requests(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        last = b""
        while data := await reader.read(self.chunk_bytes):
            window = last + data
            connection.spoke = connection.spoke or any(word in window for word in self.words)
            if self._is_cut_off(connection):
                return
            snare = self._snare
            if snare is not None and snare.pattern in window:
                self._snare = None
                if snare.answered:
                    connection.caught.append(snare)
                else:
                    self._spring(snare, connection)
            last = data[-_LONGEST_PATTERN:]
            await self._send(data, connection.server)

    async def _answers(self, reader: asyncio.StreamReader, connection: _Connection) -> None:
        while data := await reader.read(self.chunk_bytes):
            while connection.caught:
                self._spring(connection.caught.pop(), connection)
            await self._send(self.rewrite(data), connection.client)

    def _is_cut_off(self, connection: _Connection) -> bool:
        return self.parted and (connection.spoke or not self.words)

    def _spring(self, snare: _Snare, connection: _Connection) -> None:
        self.cuts += 1
        (snare.then or connection.cut)()

    async def _send(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if writer.is_closing():
            raise ConnectionAbortedError
        writer.write(data)
        await writer.drain()


@contextlib.contextmanager
def proxies(*target_ports: int) -> Iterator[list[Proxy]]:
    """Proxies in a thread of their own, for plain code.

    What a snare calls runs in that thread, so it may use any of them; elsewhere set their attributes, and set snares,
    but call no :meth:`Proxy.cut` and no :meth:`Proxy.part`.
    """
    with start_blocking_portal() as portal, contextlib.ExitStack() as stack:
        yield [stack.enter_context(portal.wrap_async_context_manager(Proxy(port))) for port in target_ports]
