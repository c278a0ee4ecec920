"""The shipping thread: one per process, with the loop on which all its mailboxes put their events."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any

from ..transport import ProducerTicket, Transport, transport_from

_threads: dict[int, tuple[asyncio.AbstractEventLoop, threading.Thread]] = {}
_starting = threading.Lock()
_tasks: set[asyncio.Task[None]] = set()
_transports: dict[tuple[str, str], Transport] = {}


def shipping_loop() -> asyncio.AbstractEventLoop:
    """The loop of this process's shipping thread."""
    return _shipper()[0]


def shipping_thread() -> int:
    """The identity of this process's shipping thread."""
    return _shipper()[1].ident or 0


def spawn(work: Coroutine[Any, Any, None]) -> None:
    """Runs a coroutine as a task that nobody awaits; to be called on the shipping loop."""
    task = asyncio.get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def transport_of(ticket: ProducerTicket) -> Transport:
    """The transport of a ticket, connected once per process: the next run's first event needn't wait for it."""
    key = (ticket.transport, repr(sorted(ticket.options.items())))
    if key not in _transports:
        _transports[key] = transport_from(ticket)
    return _transports[key]


def _shipper() -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    pid = os.getpid()  # a forked child must not use its parent's thread
    with _starting:
        if pid not in _threads:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="kodosumi-shipping", daemon=True)
            thread.start()
            _threads[pid] = loop, thread
        return _threads[pid]
