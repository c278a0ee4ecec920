"""Notices that the process was asked to end, so that streams end first and don't hold the shutdown up.

An ASGI server only says so after its last connection has closed, which a live stream never does by itself.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def announce_closing(end_streams: Callable[[], None]) -> Generator[asyncio.Event]:
    """An event that is set, after ``end_streams`` was called, once SIGINT or SIGTERM arrives; the server still gets it.

    Only the main thread can listen to signals; elsewhere the event is set when the block ends.
    """
    closing = asyncio.Event()
    loop = asyncio.get_running_loop()

    def begin() -> None:
        if not closing.is_set():
            closing.set()
            end_streams()

    restored: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if callable(before):
                restored[number] = before
                signal.signal(number, _chained(loop, begin, before))
    try:
        yield closing
    finally:
        begin()
        for number, before in restored.items():
            signal.signal(number, before)


def _chained(
    loop: asyncio.AbstractEventLoop, begin: Callable[[], None], before: Callable[[int, FrameType | None], Any]
) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, frame: FrameType | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(begin)
        before(number, frame)

    return handle
