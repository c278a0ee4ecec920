"""File descriptors 1 and 2 during a run: what subprocesses and C code write becomes events, line by line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from dataclasses import dataclass

from ..events import Event, EventKind
from .mailbox import Mailbox
from .shipping import shipping_loop

CHUNK_BYTES = 65_536
MAX_LINE_BYTES = 1_048_576
"""A longer line is cut into events of this size."""

LAST_DRAIN_BYTES = 4 * CHUNK_BYTES
"""Most that is read at the end: what a pipe holds, and not what a child left behind still writes."""


@dataclass(slots=True)
class _Pipe:
    """One redirected descriptor: where it went before, the end we read, and whether nobody can write any more."""

    descriptor: int
    kind: EventKind
    saved: int
    read_end: int
    partial: bytes = b""
    ended: bool = False


class DescriptorPump:
    """Redirects descriptors 1 and 2 into a mailbox, from construction to :meth:`stop`.

    The shipping loop reads them; :meth:`drain` lets a thread that is about to post have the output of a child that
    it has just waited for come first.

    Args:
        mailbox: of the current run.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._lock = threading.Lock()
        self._poller = select.poll()
        self._loop = shipping_loop()
        self._stopped = False
        self._resuming: asyncio.Task[None] | None = None
        self._pipes = [
            pipe
            for descriptor, kind in ((1, EventKind.STDOUT), (2, EventKind.STDERR))
            if (pipe := _redirected(descriptor, kind)) is not None
        ]
        for pipe in self._pipes:
            self._poller.register(pipe.read_end, select.POLLIN)
        self._loop.call_soon_threadsafe(self._watch)

    def outside(self, descriptor: int) -> int:
        """Where a descriptor leads outside of the run."""
        if self._stopped:
            return descriptor
        return next((pipe.saved for pipe in self._pipes if pipe.descriptor == descriptor), descriptor)

    def drain(self) -> None:
        """Posts what has been written so far; never waits."""
        with self._lock:
            if not self._stopped and self._poller.poll(0):
                for pipe in self._pipes:
                    self._read(pipe, CHUNK_BYTES)
                    if pipe.ended:
                        self._forget(pipe)

    def stop(self) -> bool:
        """Puts the descriptors back and posts what is left; never waits for children that still write.

        Returns:
            False when a descriptor could not be put back.
        """
        restored = [_restored(pipe) for pipe in self._pipes]
        with self._lock:
            if not self._stopped:
                self._stopped = True
                for pipe in self._pipes:
                    self._read(pipe, LAST_DRAIN_BYTES)
                    self._post(pipe, [pipe.partial])
                self._loop.call_soon_threadsafe(self._close)
        return all(restored)

    def _read(self, pipe: _Pipe, max_bytes: int) -> None:
        got = 0
        with contextlib.suppress(BlockingIOError):
            while got < max_bytes and not pipe.ended:
                data = os.read(pipe.read_end, CHUNK_BYTES)
                # User code has put something else in the descriptor's place: an end would be read again and again.
                pipe.ended = not data
                got += len(data)
                *lines, pipe.partial = (pipe.partial + data).split(b"\n")
                if len(pipe.partial) >= MAX_LINE_BYTES:
                    lines, pipe.partial = [*lines, pipe.partial], b""
                self._post(pipe, lines)

    def _forget(self, pipe: _Pipe) -> None:
        with contextlib.suppress(KeyError):  # it was, before
            self._poller.unregister(pipe.read_end)
            self._loop.call_soon_threadsafe(self._loop.remove_reader, pipe.read_end)

    def _post(self, pipe: _Pipe, lines: list[bytes]) -> None:
        texts = [line.decode("utf-8", "replace").rstrip() for line in lines]
        # Without waiting, as this holds a lock; the bound is kept by not reading on while the mailbox is full.
        self._mailbox.post_now([Event.now(pipe.kind, text) for text in texts if text.strip()])

    # on the shipping loop --------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        if not self._stopped:
            for pipe in (pipe for pipe in self._pipes if not pipe.ended):
                self._loop.add_reader(pipe.read_end, self._readable)

    def _readable(self) -> None:
        self.drain()
        if self._mailbox.full:
            self._unwatch()
            self._resuming = self._loop.create_task(self._resume())

    def _unwatch(self) -> None:
        for pipe in self._pipes:
            self._loop.remove_reader(pipe.read_end)

    async def _resume(self) -> None:
        await self._mailbox.space()
        self._watch()

    def _close(self) -> None:
        self._unwatch()
        if self._resuming is not None:
            self._resuming.cancel()
        for pipe in self._pipes:
            os.close(pipe.read_end)


def _redirected(descriptor: int, kind: EventKind) -> _Pipe | None:
    try:
        saved = os.dup(descriptor)
    except OSError:
        return None  # closed in this process: there's nothing to catch
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.dup2(write_end, descriptor)
    os.close(write_end)
    return _Pipe(descriptor, kind, saved, read_end)


def _restored(pipe: _Pipe) -> bool:
    try:
        os.dup2(pipe.saved, pipe.descriptor)
        os.close(pipe.saved)
    except OSError:
        return False
    return True
