"""A server that dies, fills up, hangs or goes away: nothing is lost, nothing is stored twice, and it's said why."""

from __future__ import annotations

import asyncio

import pytest

from kodosumi.error import StoreUnavailable
from kodosumi.events import Batch, Position, new_fid
from kodosumi.store import ExecutionStore
from tests.conditions import PAUSE_S, until
from tests.integration.store.conftest import MakeStore
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy
from tests.unit.store.histories import OWNER, batch, begun, payloads, text

EVENTS, EXECUTIONS, BATCH_EVENTS, KILLS = 100_000, 10, 200, 5
FILE_BYTES = 17 * 2**20
"""Just more than a segment of the server's log takes."""


async def appended(store: ExecutionStore, fid: str, one: Batch) -> int:
    """How often it took to append a batch, as the spooler does it."""
    attempts = 1
    while True:
        try:
            await store.append(fid, OWNER, [one])
        except StoreUnavailable:
            attempts += 1
            await asyncio.sleep(PAUSE_S)
        else:
            return attempts


@pytest.mark.fault
async def test_a_server_killed_again_and_again_during_a_burst_loses_nothing_and_doubles_nothing(
    own_server: PostgresServer, own_url: str, make_store: MakeStore
) -> None:
    store = make_store(own_url)
    running = [new_fid() for _ in range(EXECUTIONS)]
    done, share = 0, EVENTS // EXECUTIONS

    async def write(fid: str) -> None:
        nonlocal done
        for first in range(0, share, BATCH_EVENTS):
            lines = [text(f"{number}") for number in range(first, first + BATCH_EVENTS)]
            await appended(store, fid, Batch(Position(1, first), lines))
            done += BATCH_EVENTS

    async def kill() -> None:
        for number in range(KILLS):
            # spread over the burst, so that each hits many appends under way
            await until(lambda number=number: done >= EVENTS * (number + 0.5) / KILLS, deadline_s=120)  # type: ignore[misc]
            own_server.kill()
            await asyncio.to_thread(own_server.start)

    await asyncio.gather(kill(), *map(write, running))

    reader = make_store(own_url)
    for fid in running:
        events = await reader.events(fid, limit=EVENTS)
        assert [event.seq for event in events] == list(range(1, share + 1))
        assert [event.payload for event in events] == [f"{number}" for number in range(share)]
        assert (await reader.execution(fid)).seq == share
    assert await reader.count() == EXECUTIONS


@pytest.mark.parametrize("size", [1, 200])
async def test_an_append_that_was_executed_while_its_answer_was_lost_is_stored_once(
    own_server: PostgresServer, own_url: str, make_store: MakeStore, size: int
) -> None:
    async with Proxy(own_server.port) as proxy:
        store = make_store(own_server.url(own_url.rpartition("/")[2], port=proxy.port))
        fid = await begun(store)
        for offset in range(2, 8):
            proxy.cut_after(b"lost answer" if size == 1 else b"COMMIT")
            await appended(store, fid, batch(offset, *[text("lost answer")] * size))
            assert (await store.execution(fid)).seq == 1 + (offset - 1) * size
        assert proxy.cuts == 6
        assert await payloads(store, fid) == ["starting", *["lost answer"] * 6 * size][:1000]
        await store.close()


async def test_connections_that_died_cost_no_caller_an_error(
    own_server: PostgresServer, own_url: str, make_store: MakeStore
) -> None:
    async with Proxy(own_server.port) as proxy:
        store = make_store(own_server.url(own_url.rpartition("/")[2], port=proxy.port))
        fid = await begun(store)
        await asyncio.gather(*(store.events(fid) for _ in range(8)))
        for _ in range(3):
            proxy.cut()
            assert len(await asyncio.gather(*(store.events(fid) for _ in range(8)))) == 8
        own_server.restart()
        await store.append(fid, OWNER, [batch(2, text("after the restart"))])
        assert await payloads(store, fid) == ["starting", "after the restart"]
        await store.close()


async def test_a_server_that_is_down_says_so_and_is_found_when_it_is_up(
    own_server: PostgresServer, own_url: str, make_store: MakeStore
) -> None:
    store = make_store(own_url)
    own_server.stop()
    for call in (store.check(), store.append(new_fid(), OWNER, [batch(1, text("x"))]), store.live()):
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{own_server.port}.*nothing listens there"):
            await call
    own_server.start()
    await store.check()
    own_server.stop()
    with pytest.raises(StoreUnavailable):
        await store.count()
    own_server.start()
    assert await store.count() == 0


async def test_a_server_that_hangs_is_given_up_after_the_timeouts(
    own_server: PostgresServer, own_url: str, make_store: MakeStore
) -> None:
    async with Proxy(own_server.port) as proxy:
        store = make_store(own_server.url(own_url.rpartition("/")[2], port=proxy.port), connect_timeout_s=2.0)
        proxy.delay_s = 60
        with pytest.raises(StoreUnavailable, match="does not answer in time"):
            await store.check()
        proxy.cut()
        proxy.delay_s = 0
        await until(store.check, lambda _: True)
        await store.close()


async def test_who_waits_for_a_connection_that_others_hold_gives_up(own_url: str, make_store: MakeStore) -> None:
    store = make_store(own_url, pool_size=2, connect_timeout_s=2.0)
    await store.check()
    release = asyncio.Event()
    holding = 0

    async def hold(connection: object) -> None:
        nonlocal holding
        holding += 1
        await release.wait()

    holders = [asyncio.ensure_future(store._pool.run(hold)) for _ in range(2)]
    await until(lambda: holding == 2)
    with pytest.raises(StoreUnavailable, match="KODO_DATABASE_POOL_SIZE"):
        await store.check()
    release.set()
    await asyncio.gather(*holders)
    await store.check()


async def test_a_full_disk_is_named_leaves_no_trace_and_the_append_works_when_there_is_room(
    own_server: PostgresServer, own_url: str, make_store: MakeStore
) -> None:
    store = make_store(own_url)
    fid = await begun(store)
    own_server.limit_files(FILE_BYTES)
    stored, offset = 1, 1
    try:
        with pytest.raises(StoreUnavailable, match="disk is full"):
            for offset in range(2, 100):
                await store.append(fid, OWNER, [batch(offset, *[text("x" * 1_500)] * 500)])
                stored += 500
        assert (await store.execution(fid)).seq == stored
        assert len(await store.events(fid, limit=100_000)) == stored
    finally:
        own_server.limit_files()
    assert (await store.append(fid, OWNER, [batch(offset, *[text("y")] * 500)])).seq == stored + 500
    events = await store.events(fid, limit=100_000)
    assert [event.seq for event in events] == list(range(1, stored + 501))
    assert {event.payload for event in events[stored:]} == {"y"}
