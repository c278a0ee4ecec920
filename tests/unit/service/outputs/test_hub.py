"""The hub: every viewer sees every event once, in order, whatever happens at the same time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager
from typing import cast

import pytest

from kodosumi.error import ExecutionNotFound, StoreUnavailable
from kodosumi.events import EventKind
from kodosumi.service import follower as follower_module
from kodosumi.service.hub import Hub
from kodosumi.service.sse import ALIVE
from kodosumi.store import ExecutionStore
from kodosumi.transport import Transport
from tests.conditions import until

from .event_source import parsed
from .jittery import Feed, JitteryStore

FID = "a" * 24
KINDS = [EventKind.STDOUT, EventKind.RESULT, EventKind.DEBUG]


@asynccontextmanager
async def running(store: JitteryStore, feed: Feed, heartbeat_s: float = 3.0) -> AsyncIterator[Hub]:
    hub = Hub(cast(ExecutionStore, store), cast(Transport, feed), heartbeat_s)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.close()
        assert hub.viewers == 0 or await until(lambda: hub.viewers == 0)


async def watched(hub: Hub, after: int = 0, kinds: Collection[EventKind] | None = None) -> list[int]:
    """Places of all events until ``eof``."""
    seen = b""
    async with aclosing(hub.stream(FID, kinds=kinds, after=after)) as chunks:
        async for chunk in chunks:
            seen += chunk
    events = parsed(seen)
    assert events[-1].event == "eof"
    return [int(event.id) for event in events[:-1]]


async def appended(store: JitteryStore, feed: Feed, count: int, seed: int) -> None:
    """Commits events in bursts at random moments, then the end."""
    chance = random.Random(seed)
    for number in range(count):
        store.add(FID, chance.choice(KINDS), str(number))
        if chance.random() < 0.5:
            feed.wake(FID)
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
    store.add(FID, EventKind.STATUS, "finished")
    feed.wake(FID)


@pytest.mark.parametrize("seed", range(40))
async def test_viewers_that_come_at_any_moment_see_every_event_once(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "RING_EVENTS", 1 + seed % 7)
    monkeypatch.setattr(follower_module, "PAGE_EVENTS", 1 + seed % 5)
    chance = random.Random(seed)
    store, feed = JitteryStore(seed), Feed()
    store.add(FID, EventKind.STATUS, "starting")

    async def viewer(hub: Hub) -> tuple[int, frozenset[EventKind] | None, list[int]]:
        for _ in range(chance.randrange(200)):
            await asyncio.sleep(0)
        after = chance.randrange(len(store.kept[FID]) + 1)
        kinds = chance.choice([None, frozenset({EventKind.STDOUT}), frozenset({EventKind.RESULT, EventKind.STATUS})])
        return after, kinds, await watched(hub, after, kinds)

    async with running(store, feed) as hub, asyncio.timeout(30), asyncio.TaskGroup() as group:
        viewers = [group.create_task(viewer(hub)) for _ in range(8)]
        group.create_task(appended(store, feed, 150, seed))

    for task in viewers:
        after, kinds, seen = task.result()
        assert seen == [row.seq for row in store.kept[FID] if row.seq > after and (kinds is None or row.kind in kinds)]


async def test_a_final_execution_gives_what_is_left_and_ends_at_once() -> None:
    store, feed = JitteryStore(), Feed()
    await appended(store, feed, 20, 1)
    async with running(store, feed) as hub:
        assert await watched(hub) == list(range(1, 22))
        assert await watched(hub, after=19) == [20, 21]
        assert await watched(hub, after=21) == []


async def test_a_place_that_was_never_given_starts_from_the_beginning() -> None:
    store, feed = JitteryStore(), Feed()
    await appended(store, feed, 5, 1)
    async with running(store, feed) as hub:
        assert await watched(hub, after=999) == [1, 2, 3, 4, 5, 6]


async def test_a_place_from_a_panel_that_is_ahead_is_kept() -> None:
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed) as hub:
        first = asyncio.create_task(watched(hub))
        await until(lambda: hub.viewers == 1 and store.reads >= 1)
        for number in range(5):
            store.add(FID, EventKind.STDOUT, str(number))  # committed, and this panel was not told yet
        second = asyncio.create_task(watched(hub, after=4))
        await until(lambda: hub.viewers == 2)
        store.add(FID, EventKind.STATUS, "error")
        feed.wake(FID)
        assert await asyncio.wait_for(second, 30) == [5, 6, 7]
        assert await asyncio.wait_for(first, 30) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("seed", range(5))
async def test_a_feed_that_breaks_costs_no_event(seed: int) -> None:
    store, feed = JitteryStore(seed), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed, heartbeat_s=0.05) as hub:
        viewer = asyncio.create_task(watched(hub))
        await until(lambda: hub.viewers == 1)
        feed.break_down()
        await appended(store, feed, 30, seed)
        if seed % 2:
            feed.repair()
        assert await asyncio.wait_for(viewer, 30) == list(range(1, 33))


async def test_a_store_that_is_down_delays_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "RETRY_S", 0.02)
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed) as hub:
        chunks = hub.stream(FID)
        seen = await anext(chunks) + await anext(chunks)
        store.down = True
        await appended(store, feed, 3, 1)
        pending = asyncio.ensure_future(anext(chunks))
        await until(lambda: store.refusals > 1)
        assert not pending.done()
        store.down = False
        seen += await pending
        async for chunk in chunks:
            seen += chunk
    assert [event.id for event in parsed(seen)][:-1] == ["1", "2", "3", "4", "5"]


async def test_an_execution_is_read_once_per_wake_up_whatever_the_number_of_viewers() -> None:
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed, heartbeat_s=3_600.0) as hub:
        viewers = [asyncio.create_task(watched(hub, after=1)) for _ in range(50)]
        await until(lambda: hub.viewers == 50)
        await until(lambda: hub._followers[FID]._known.is_set())
        for number in range(10):
            reads = store.reads
            store.add(FID, EventKind.STDOUT, str(number))
            feed.wake(FID)
            await until(lambda: hub._followers[FID].seq == len(store.kept[FID]))
            assert store.reads == reads + 1
        await appended(store, feed, 0, 1)
        assert all(await asyncio.gather(*viewers))


async def test_all_viewers_get_the_same_bytes() -> None:
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed) as hub:
        streams = [hub.stream(FID, after=1, converted=True) for _ in range(2)]
        for stream in streams:
            assert await anext(stream)
        pending = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await until(lambda: hub._followers[FID]._known.is_set())
        store.add(FID, EventKind.STDOUT, "x")
        feed.wake(FID)
        first, second = await asyncio.gather(*pending)
        ring = hub._followers[FID]._ring
        assert first == second == ring[2].encoded(True, FID)
        for stream in streams:
            await stream.aclose()


async def test_a_slow_viewer_holds_nobody_up_and_grows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "RING_EVENTS", 10)
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed) as hub:
        slow = hub.stream(FID)
        seen = await anext(slow)
        quick = asyncio.create_task(watched(hub))
        await until(lambda: hub.viewers == 2)
        for round_ in range(20):
            for number in range(50):
                store.add(FID, EventKind.STDOUT, f"{round_} {number}")
            feed.wake(FID)
            await asyncio.sleep(0.001)
            assert len(hub._followers[FID]._ring) <= 10
        store.add(FID, EventKind.STATUS, "finished")
        feed.wake(FID)
        assert await asyncio.wait_for(quick, 30) == list(range(1, 1003))
        async for chunk in slow:
            seen += chunk
        assert [int(event.id) for event in parsed(seen)[:-1]] == list(range(1, 1003))


async def test_the_ring_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "RING_BYTES", 10_000)
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed) as hub:
        viewer = asyncio.create_task(watched(hub))
        await until(lambda: hub.viewers == 1 and hub._followers[FID]._known.is_set())
        for _ in range(30):
            store.add(FID, EventKind.STDOUT, "x" * 2_000)
        feed.wake(FID)
        await until(lambda: hub._followers[FID].seq == 31)
        assert hub._followers[FID]._ring_bytes <= 10_000
        store.add(FID, EventKind.STATUS, "finished")
        feed.wake(FID)
        assert await viewer == list(range(1, 33))


async def test_an_idle_stream_says_that_it_is_alive() -> None:
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed, heartbeat_s=0.02) as hub, aclosing(hub.stream(FID, after=1)) as chunks:
        assert await anext(chunks)
        assert [await anext(chunks) for _ in range(3)] == [ALIVE] * 3


async def test_closing_ends_all_streams_without_an_end_of_the_execution() -> None:
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed) as hub:
        chunks = hub.stream(FID)
        assert await anext(chunks) and await anext(chunks)
        pending = asyncio.ensure_future(anext(chunks, b"over"))
        await asyncio.sleep(0)
        hub.end_streams()
        assert await asyncio.wait_for(pending, 30) == b"over"


async def test_a_purged_execution_ends_its_streams() -> None:
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed) as hub:
        viewer = asyncio.create_task(watched(hub))
        await until(lambda: hub.viewers == 1 and hub._followers[FID]._known.is_set())
        del store.kept[FID]
        feed.wake(FID)
        await asyncio.wait_for(asyncio.gather(viewer, return_exceptions=True), 30)
        assert hub.viewers == 0


async def test_nothing_is_kept_or_timed_for_executions_that_nobody_watches() -> None:
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed, heartbeat_s=0.01) as hub:
        async with aclosing(hub.stream(FID)) as chunks:
            assert await anext(chunks)
        assert not hub._followers and not hub._listeners
        await until(lambda: hub._heart is not None and hub._heart.done())
        reads = store.reads
        feed.wake(FID)
        await until(lambda: not feed.changed)
        assert store.reads == reads


async def test_an_execution_is_awaited_until_it_is_stored() -> None:
    store, feed = JitteryStore(), Feed()
    async with running(store, feed) as hub:
        waiting = asyncio.create_task(hub.execution(FID, 30))
        await until(lambda: FID in hub._listeners)
        store.add(FID, EventKind.STATUS, "starting")
        feed.wake(FID)
        assert (await waiting).seq == 1


async def test_an_execution_that_does_not_come_is_not_found() -> None:
    async with running(JitteryStore(), Feed()) as hub:
        with pytest.raises(ExecutionNotFound):
            await hub.execution(FID, 0.01)
        assert not hub._listeners


async def test_an_end_is_awaited_and_its_absence_is_a_timeout() -> None:
    store, feed = JitteryStore(), Feed()
    store.add(FID, EventKind.STATUS, "running")
    async with running(store, feed) as hub:
        with pytest.raises(TimeoutError):
            await hub.execution(FID, 0.01, lambda execution: execution.state.terminal)
        waiting = asyncio.create_task(hub.execution(FID, 30, lambda execution: execution.state.terminal))
        await until(lambda: FID in hub._listeners)
        store.add(FID, EventKind.STATUS, "error")
        feed.wake(FID)
        assert (await waiting).state == "error"


async def test_waiting_ends_with_the_panel() -> None:
    async with running(JitteryStore(), Feed()) as hub:
        waiting = asyncio.create_task(hub.execution(FID, 30))
        await until(lambda: FID in hub._listeners)
        hub.end_streams()
        with pytest.raises(StoreUnavailable, match="shutting down"):
            await waiting


@pytest.mark.parametrize("seed", range(20))
async def test_a_client_that_is_cut_off_again_and_again_resumes_on_other_panels(seed: int) -> None:
    chance = random.Random(seed)
    store, feed = JitteryStore(seed), Feed()
    store.add(FID, EventKind.STATUS, "starting")
    events: list[str] = []
    last = 0
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(appended(store, feed, 100, seed))
        while "eof" not in events:
            # every connection meets a new panel process, which was told of nothing that was committed before
            async with running(store, Feed(), 0.01) as hub, aclosing(hub.stream(FID, after=last)) as chunks:
                for _ in range(chance.randrange(2, 5)):
                    for event in parsed(await anext(chunks, b"")):
                        assert event.event == "eof" or int(event.id) == last + 1
                        events.append(event.event)
                        last = last if event.event == "eof" else int(event.id)
    assert last == len(store.kept[FID]) == 102
