"""The spooler moves events from transport to store, and gives every lost run its end."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from kodosumi.config import Settings
from kodosumi.error import StoreError, StoreUnavailable
from kodosumi.events import Batch, Event, EventKind, ExecutionState, new_fid
from kodosumi.log import JsonFormatter
from kodosumi.spooler import Spooler
from kodosumi.store import Appended
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until

OWNER = "0d4e9c6e-0000-4000-8000-000000000001"


class Mode:
    """An execution mode that runs nothing and knows what it's told."""

    name = "still"

    def __init__(self) -> None:
        self.runs: set[str] = set()
        self.refusal: str | None = None
        self.refusals = 0
        self.died = asyncio.Event()

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        return frozenset(self.runs & set(fids))

    async def refuse(self, reason: str | None) -> None:
        self.refusal = reason
        self.refusals += 1

    async def configure(self) -> None: ...

    async def restarted(self) -> None:
        await self.died.wait()
        self.died.clear()

    async def close(self) -> None: ...


class FullDisk(MemoryExecutionStore):
    """A store that can't be written until there is room."""

    def __init__(self) -> None:
        super().__init__()
        self.room = asyncio.Event()

    async def append(self, fid: str, username: str, batches: Sequence[Batch]) -> Appended:
        if not self.room.is_set():
            raise StoreUnavailable("no space left on device")
        return await super().append(fid, username, batches)


class DamagedFile(MemoryExecutionStore):
    """A store in which one execution can't be written."""

    damaged: str | None = None

    async def append(self, fid: str, username: str, batches: Sequence[Batch]) -> Appended:
        if fid == self.damaged:
            raise StoreError("the file is damaged")
        return await super().append(fid, username, batches)


class Bench:
    """A transport, a store, a mode and spoolers over them."""

    def __init__(self, store: MemoryExecutionStore | None = None) -> None:
        self.settings = Settings(event_transport="memory", spooler_interval=0.02)
        self.transport = MemoryTransport(name=uuid4().hex)
        self.store = store or MemoryExecutionStore()
        self.mode = Mode()

    @asynccontextmanager
    async def spooling(self) -> AsyncIterator[Spooler]:
        spooler = Spooler(self.settings, store=self.store, transport=self.transport, mode=self.mode, sweep_every_s=0.05)
        task = asyncio.create_task(spooler.run())
        try:
            yield spooler
        finally:
            spooler.stop()
            await task

    async def put(self, fid: str, *events: Event) -> None:
        await self.transport.producer(fid, OWNER).put(events)

    async def stored(self, fid: str) -> list[str]:
        return [event.payload for event in await self.store.events(fid)]

    async def state(self, fid: str) -> ExecutionState:
        return (await self.store.execution(fid)).state


def status(state: ExecutionState) -> Event:
    return Event.now(EventKind.STATUS, state)


def debug(text: str) -> Event:
    return Event.now(EventKind.DEBUG, text)


async def test_what_is_put_is_stored_in_order() -> None:
    bench, fid = Bench(), new_fid()
    bench.mode.runs.add(fid)
    producer = bench.transport.producer(fid, OWNER)

    async with bench.spooling():
        for number in range(100):
            await producer.put([debug(str(number))])
        await until(lambda: bench.store.execution(fid), lambda execution: execution.seq == 100)

    assert await bench.stored(fid) == [str(number) for number in range(100)]


async def test_a_stored_run_that_no_one_knows_gets_its_end() -> None:
    bench, fid = Bench(), new_fid()
    await bench.put(fid, status(ExecutionState.STARTING), status(ExecutionState.RUNNING))

    async with bench.spooling():
        await until(lambda: bench.store.execution(fid), lambda execution: execution.state == ExecutionState.ERROR)
        bench.mode.died.set()

    payloads = await bench.stored(fid)
    assert payloads[-1] == "error"
    assert payloads[-2].startswith("RunLost")
    assert payloads.count("error") == 1


async def test_a_run_that_the_mode_knows_is_never_ended() -> None:
    bench, lost, living = Bench(), new_fid(), new_fid()
    bench.mode.runs.add(living)
    for fid in (lost, living):
        await bench.put(fid, status(ExecutionState.STARTING))

    async with bench.spooling():
        await until(lambda: bench.store.execution(lost), lambda execution: execution.state.terminal)

    assert await bench.state(living) == ExecutionState.STARTING


async def test_a_durable_run_is_not_ended_by_who_cannot_know_of_its_next_attempt() -> None:
    bench, durable, lost = Bench(), new_fid(), new_fid()
    await bench.store.keep_launch(durable, OWNER, b"what it is begun with")
    for fid in (durable, lost):
        await bench.put(fid, status(ExecutionState.STARTING))

    async with bench.spooling():
        await until(lambda: bench.store.execution(lost), lambda execution: execution.state.terminal)
        bench.mode.died.set()
        await until(lambda: not bench.mode.died.is_set())

    assert await bench.state(durable) == ExecutionState.STARTING


async def test_the_death_of_the_mode_ends_what_it_kept() -> None:
    bench, fid = Bench(), new_fid()
    bench.mode.runs.add(fid)

    async with bench.spooling():
        await bench.put(fid, status(ExecutionState.STARTING))
        await until(lambda: bench.store.execution(fid), lambda execution: execution.seq == 1)
        bench.mode.runs.clear()
        bench.mode.died.set()
        await until(lambda: bench.store.execution(fid), lambda execution: execution.state == ExecutionState.ERROR)


async def test_a_terminal_event_on_its_way_wins_over_the_notice_of_loss() -> None:
    bench, fid = Bench(), new_fid()
    bench.settings = Settings(event_transport="memory", spooler_interval=0.02, spooler_batch_size=1)
    await bench.put(fid, status(ExecutionState.STARTING))
    await bench.put(fid, status(ExecutionState.FINISHED))

    async with bench.spooling():
        await until(lambda: bench.store.execution(fid), lambda execution: execution.state.terminal)

    assert await bench.stored(fid) == ["starting", "finished"]


async def test_while_the_store_is_full_launches_are_refused_and_nothing_is_lost() -> None:
    disk = FullDisk()
    bench, fid = Bench(disk), new_fid()
    bench.mode.runs.add(fid)

    async with bench.spooling():
        await bench.put(fid, status(ExecutionState.STARTING), debug("kept"))
        await until(lambda: bench.mode.refusal, lambda refusal: refusal == "no space left on device")
        disk.room.set()
        await until(lambda: bench.mode.refusal, lambda refusal: refusal is None)
        await until(lambda: bench.store.execution(fid), lambda execution: execution.seq == 2)

    assert await bench.stored(fid) == ["starting", "kept"]


async def test_one_execution_that_cannot_be_stored_holds_up_no_other_and_is_stored_once_it_can_be() -> None:
    store = DamagedFile()
    bench, sick, sound = Bench(store), new_fid(), new_fid()
    bench.settings = Settings(event_transport="memory", spooler_interval=0.02, spooler_batch_size=1)
    bench.mode.runs |= {sick, sound}
    store.damaged = sick

    async with bench.spooling():
        for number in range(50):
            await bench.put(sick, debug(str(number)))
        for number in range(100):
            await bench.put(sound, debug(str(number)))
        await until(lambda: bench.store.execution(sound), lambda execution: execution.seq == 100)
        store.damaged = None
        await until(lambda: bench.store.execution(sick), lambda execution: execution.seq == 50)

    assert await bench.stored(sick) == [str(number) for number in range(50)]


async def test_what_is_logged_of_an_execution_names_it() -> None:
    store, lines = DamagedFile(), io.StringIO()
    bench, fid = Bench(store), new_fid()
    store.damaged = fid
    handler = logging.StreamHandler(lines)
    handler.setFormatter(JsonFormatter("spooler"))
    logger = logging.getLogger("kodosumi.spooler")
    logger.addHandler(handler)
    try:
        async with bench.spooling():
            await bench.put(fid, debug("kept to itself"))
            await until(lambda: "cannot be stored" in lines.getvalue())
            store.damaged = None
            await until(lambda: bench.store.execution(fid), lambda execution: execution.seq == 1)
    finally:
        logger.removeHandler(handler)
    fields = json.loads(lines.getvalue().splitlines()[0])
    assert (fields["process"], fields["fid"], fields["level"]) == ("spooler", fid, "ERROR")
    assert "the file is damaged" in fields["exception"]
    assert "kept to itself" not in lines.getvalue()


async def test_a_spooler_ends_though_what_it_waits_for_loses_a_cancellation() -> None:
    bench, lost = Bench(), asyncio.Event()

    async def restarted() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if lost.is_set():
                raise
            lost.set()

    bench.mode.restarted = restarted  # type: ignore[method-assign]
    async with bench.spooling():
        await until(lambda: bench.mode.refusals > 0)
    assert lost.is_set()


async def test_a_spooler_that_stops_leaves_the_rest_to_the_next() -> None:
    bench, fid = Bench(), new_fid()
    bench.mode.runs.add(fid)
    producer = bench.transport.producer(fid, OWNER)

    for first in range(0, 300, 100):
        async with bench.spooling():
            for number in range(first, first + 100):
                await producer.put([debug(str(number))])

    async with bench.spooling():
        await until(lambda: bench.store.execution(fid), lambda execution: execution.seq == 300)
    assert await bench.stored(fid) == [str(number) for number in range(300)]
