"""Old executions go by themselves, in portions, whatever the store says meanwhile."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kodosumi.error import ExecutionNotFound, StoreUnavailable
from kodosumi.events import Batch, Event, EventKind, ExecutionState, Position, new_fid
from kodosumi.retention import Retention
from kodosumi.spooler import Spooler
from kodosumi.store import ExecutionStore
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.conditions import until
from tests.unit.spooler.test_spooler import OWNER, Bench

DAY_S = 86_400.0


class Away(MemoryExecutionStore):
    """A store that can't be reached until it is back."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self.failure: Exception | None = failure
        self.asked = 0

    async def expire(self, before: float, limit: int) -> int:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return await super().expire(before, limit)


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ExecutionStore]:
    made: ExecutionStore = MemoryExecutionStore() if request.param == "memory" else SqliteExecutionStore(tmp_path)
    yield made
    await made.close()


async def execution(store: ExecutionStore, *, days_ago: float, state: ExecutionState = ExecutionState.FINISHED) -> str:
    fid, at = new_fid(), time.time() - days_ago * DAY_S
    events = [Event(EventKind.STATUS, at, "starting"), Event(EventKind.STATUS, at, state.value)]
    await store.append(fid, OWNER, [Batch(Position(1, 1), events)])
    return fid


async def is_gone(store: ExecutionStore, fid: str) -> bool:
    try:
        await store.execution(fid)
    except ExecutionNotFound:
        return True
    return False


def at_once(store: ExecutionStore, every_s: float) -> Retention:
    """Thirty days, two executions a step, no pause in between."""
    return Retention(store, 30, first_after_s=0, every_s=every_s, pause_s=0, portion=2)


@asynccontextmanager
async def retained(store: ExecutionStore, every_s: float = 0.01) -> AsyncIterator[None]:
    task = asyncio.create_task(at_once(store, every_s).run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()


async def test_what_ended_too_long_ago_goes_and_the_rest_stays(store: ExecutionStore) -> None:
    old = [await execution(store, days_ago=31) for _ in range(5)]
    young = await execution(store, days_ago=29)
    living = await execution(store, days_ago=90, state=ExecutionState.RUNNING)

    async with retained(store):
        for fid in old:
            await until(lambda fid=fid: is_gone(store, fid))  # type: ignore[misc]

    assert [found.fid for found in await store.executions()] == sorted([young, living], reverse=True)


async def test_a_round_goes_on_until_a_portion_is_not_full_and_says_so_once(
    store: ExecutionStore, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        await execution(store, days_ago=31)

    with caplog.at_level(logging.INFO, logger="kodosumi.retention"):
        async with retained(store, every_s=3_600):
            await until(lambda: caplog.messages)

    assert caplog.messages == ["removed 5 executions that ended 30 days ago or earlier"]
    assert await store.count() == 0


@pytest.mark.parametrize("failure", [StoreUnavailable("no space left on device"), RuntimeError("a bug")])
async def test_a_store_that_fails_is_tried_again(failure: Exception) -> None:
    store = Away(failure)
    old = await execution(store, days_ago=31)

    async with retained(store):
        await until(lambda: store.asked > 2)
        assert not await is_gone(store, old)
        store.failure = None
        await until(lambda: is_gone(store, old))


async def test_a_spooler_with_retention_stores_events_while_the_removal_fails() -> None:
    store = Away(StoreUnavailable("down"))
    bench, fid = Bench(store), new_fid()
    bench.mode.runs.add(fid)
    old = await execution(store, days_ago=31)
    spooler = Spooler(
        bench.settings, store=store, transport=bench.transport, mode=bench.mode, retention=at_once(store, every_s=0.01)
    )

    spooling = asyncio.create_task(spooler.run())
    await until(lambda: store.asked > 2)
    await bench.put(fid, Event.now(EventKind.STATUS, "starting"))
    await until(lambda: store.execution(fid), lambda found: found.seq == 1)
    store.failure = None
    await until(lambda: is_gone(store, old))

    spooler.stop()
    await spooling


@pytest.mark.parametrize(("days", "duties"), [(None, 0), (7, 1)])
async def test_the_setting_alone_gives_a_spooler_the_duty(days: float | None, duties: int) -> None:
    bench = Bench()
    bench.settings.retention_days = days

    async with bench.spooling():
        await until(lambda: [task for task in asyncio.all_tasks() if task.get_name() == "take"])
        running = [task for task in asyncio.all_tasks() if task.get_name() == "retention"]

    assert len(running) == duties
