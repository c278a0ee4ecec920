"""A spooler with a webhook: who is told, and that nobody who hangs holds up what is stored."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from kodosumi.config import Settings
from kodosumi.events import Event, EventKind, ExecutionState, new_fid
from kodosumi.spooler import Spooler
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from kodosumi.webhook import Sender
from tests.conditions import until
from tests.servers.receiver import Receiver
from tests.unit.spooler.test_spooler import Mode
from tests.unit.store.histories import OWNER

LOCK = '{"dict": {"lid": "a", "name": "approve"}}'


@asynccontextmanager
async def spooling(store: MemoryExecutionStore, receiver: Receiver) -> AsyncIterator[MemoryTransport]:
    settings = Settings(event_transport="memory", webhook_url=receiver.url, webhook_secret="s", _env_file=None)
    transport = MemoryTransport(name=uuid4().hex)
    spooler = Spooler(settings, store=store, transport=transport, mode=Mode())  # type: ignore[arg-type]
    task = asyncio.create_task(spooler.run())
    try:
        yield transport
    finally:
        spooler.stop()
        await task


async def test_locks_and_ends_are_told_as_soon_as_they_are_stored(
    store: MemoryExecutionStore, receiver: Receiver
) -> None:
    fid = new_fid()
    async with spooling(store, receiver) as transport:
        producer = transport.producer(fid, OWNER)
        await producer.put([Event.now(EventKind.STATUS, ExecutionState.RUNNING), Event.now(EventKind.LOCK, LOCK)])
        await until(lambda: f"{fid}-2" in receiver.ids())
        await producer.put([Event.now(EventKind.DEBUG, "x"), Event.now(EventKind.STATUS, ExecutionState.FINISHED)])
        await until(store.waiting_notices, lambda waiting: waiting == 0 and len(receiver.deliveries) == 2)
    # the sweep may have ended it first: nobody runs it
    assert receiver.deliveries[1].message["event"] in ("finished", "error")
    assert receiver.deliveries[1].message["username"] == OWNER


async def test_a_receiver_that_hangs_does_not_hold_up_storing(store: MemoryExecutionStore, receiver: Receiver) -> None:
    receiver.hanging = True
    fids = [new_fid() for _ in range(8)]
    async with spooling(store, receiver) as transport:
        for fid in fids:
            end = Event.now(EventKind.STATUS, ExecutionState.FINISHED)
            await transport.producer(fid, OWNER).put([Event.now(EventKind.LOCK, LOCK), end])
        await until(lambda: len(receiver.deliveries) == 4)
        for fid in fids:
            await until(lambda fid=fid: store.execution(fid), lambda execution: execution.state.terminal)
        assert len(receiver.deliveries) == 4
        receiver.resume()
        await until(store.waiting_notices, lambda waiting: waiting == 0)
    assert len(set(receiver.ids())) == 16


async def test_what_is_stored_while_the_spooler_ends_is_told_before_it_is_gone(
    store: MemoryExecutionStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sender, "close", functools.partialmethod(Sender.close, 60.0))
    async with spooling(store, receiver) as transport:
        fid = new_fid()
        await transport.producer(fid, OWNER).put([Event.now(EventKind.STATUS, ExecutionState.FINISHED)])
        await until(lambda: store.execution(fid))
    assert receiver.ids() == [f"{fid}-1"]
