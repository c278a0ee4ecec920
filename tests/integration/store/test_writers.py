"""Several processes at once on one database: as many store objects, which share nothing."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest

from kodosumi.error import StoreUnavailable
from kodosumi.events import new_fid
from kodosumi.postgres import Connection
from kodosumi.store import ExecutionStore
from tests.conditions import DEADLINE_S
from tests.integration.store.conftest import MakeStore
from tests.servers.postgres import PostgresServer
from tests.unit.store.histories import FINISHED, OWNER, RUNNING, batch, begun, fids, payloads, text

ROUNDS, EXECUTIONS = 30, 12


async def test_two_writers_of_one_execution_store_each_batch_once_in_order(
    postgres_url: str, make_store: MakeStore
) -> None:
    one, other = make_store(postgres_url), make_store(postgres_url)
    fid = new_fid()

    async def write(store: ExecutionStore, sizes: int) -> int:
        """Hands over every batch, several at a time, as after a change of hands."""
        stored = 0
        for first in range(1, 101, sizes):
            batches = [batch(offset, text(f"{offset}"), text("x" * offset)) for offset in range(first, first + sizes)]
            appended = await store.append(fid, OWNER, batches)
            stored += appended.stored
        return stored

    stored = await asyncio.gather(write(one, 1), write(other, 4), write(one, 5), write(other, 50))

    events = await one.events(fid)
    assert [event.seq for event in events] == list(range(1, 201))
    assert [event.payload for event in events[::2]] == [f"{offset}" for offset in range(1, 101)]
    assert sum(stored) == 200
    assert await one.count() == 1


async def test_whoever_appends_the_place_is_the_stored_one(postgres_url: str, make_store: MakeStore) -> None:
    one, other = make_store(postgres_url), make_store(postgres_url)
    fid = await begun(one)
    await other.append(fid, OWNER, [batch(2, text("a"), text("b"))])
    assert (await one.append(fid, OWNER, [batch(2, text("a"), text("b"))])).seq == 3
    assert (await one.append(fid, OWNER, [batch(3, text("c"))])) == (4, 1, 0, "starting")
    await one.archive(fid)
    assert (await other.append(fid, OWNER, [batch(4, FINISHED)])).seq == 5
    assert (await other.execution(fid)).archived
    assert await payloads(other, fid) == ["starting", "a", "b", "c", "finished"]


async def test_a_reader_of_changes_misses_nothing_while_many_write(postgres_url: str, make_store: MakeStore) -> None:
    stores = [make_store(postgres_url) for _ in range(3)]
    reader = make_store(postgres_url)
    running = [new_fid() for _ in range(EXECUTIONS)]
    writing = True

    async def write(number: int) -> None:
        store = stores[number % len(stores)]
        for offset in range(ROUNDS):
            # some are copied, in transactions of several steps
            await store.append(running[number], OWNER, [batch(offset, *[text("x")] * (1 if offset % 3 else 100))])

    async def read() -> dict[str, int]:
        seen: dict[str, int] = {}
        cursor = 0.0
        while True:
            last_look = not writing
            while page := await reader.changes(cursor, limit=3):
                cursor = page[-1].modified_at
                for execution, _ in page:
                    assert execution.seq >= seen.get(execution.fid, 0)
                    seen[execution.fid] = execution.seq
            if last_look:
                return seen

    reading = asyncio.ensure_future(read())
    await asyncio.gather(*(write(number) for number in range(EXECUTIONS)))
    writing = False
    seen = await reading
    assert seen == {fid: (await reader.execution(fid)).seq for fid in running}


async def test_a_transaction_that_lies_stuck_holds_up_its_own_execution_alone(
    postgres_server: PostgresServer, postgres_url: str, make_store: MakeStore
) -> None:
    store = make_store(postgres_url, timeout_s=2.0)
    stuck, free = await begun(store), await begun(store)
    with _holding(postgres_server, postgres_url, stuck):
        with pytest.raises(StoreUnavailable, match="KODO_DATABASE_TIMEOUT"):
            await store.append(stuck, OWNER, [batch(2, text("waits"))])
        assert (await store.append(free, OWNER, [batch(2, text("goes on"))])).seq == 2
        assert await fids(store) == sorted([stuck, free], reverse=True)
        assert await payloads(store, free) == ["starting", "goes on"]
        assert len(await store.live()) == 2
        new = await begun(store)
        assert (await store.execution(new)).seq == 1
    assert (await store.append(stuck, OWNER, [batch(2, text("waits"))])).seq == 2


async def test_changes_wait_for_a_stuck_transaction_and_miss_nothing_of_it(
    postgres_server: PostgresServer, postgres_url: str, make_store: MakeStore
) -> None:
    store = make_store(postgres_url)
    early, late = await begun(store), await begun(store)
    cursor = (await store.changes(0.0))[-1].modified_at
    with _holding(postgres_server, postgres_url, early):
        # what comes later has a later time, and a cursor that went past it would never see the early one
        await store.append(late, OWNER, [batch(2, RUNNING)])
        assert await store.changes(cursor) == []
    assert [change.execution.fid for change in await store.changes(cursor)] == [early, late]


async def test_changes_miss_nothing_of_another_role_whose_transactions_are_hidden(
    postgres_server: PostgresServer, postgres_url: str, make_store: MakeStore
) -> None:
    store, database = make_store(postgres_url), postgres_url.rpartition("/")[2]
    early, late = await begun(store), await begun(store)
    cursor = (await store.changes(0.0))[-1].modified_at
    postgres_server.execute("CREATE ROLE watcher LOGIN PASSWORD 'watches'")
    postgres_server.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO watcher", database)
    watcher = make_store(f"postgresql://watcher:watches@127.0.0.1:{postgres_server.port}/{database}")
    with _holding(postgres_server, postgres_url, early):
        await store.append(late, OWNER, [batch(2, RUNNING)])
        assert await watcher.changes(cursor) == []
    assert [change.execution.fid for change in await watcher.changes(cursor)] == [early, late]


async def test_a_stuck_transaction_of_ours_is_ended_by_the_server(
    postgres_server: PostgresServer, postgres_url: str, make_store: MakeStore
) -> None:
    store = make_store(postgres_url, timeout_s=2.0)
    stuck = await begun(store)
    begin = time.time()

    async def hangs(connection: Connection) -> None:
        ended = asyncio.Event()
        connection.add_termination_listener(lambda _: ended.set())
        await connection.execute("UPDATE executions SET version = version")
        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()
        await connection.execute("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await store._pool.run(hangs, transaction=True)
    await store.append(stuck, OWNER, [batch(2, text("free again"))])
    assert [change.execution.fid for change in await store.changes(begin)] == [stuck]


@contextlib.contextmanager
def _holding(server: PostgresServer, url: str, fid: str) -> Iterator[None]:
    """A transaction that wrote an execution's row and does not end before the block does."""
    with server.connected(url.rpartition("/")[2]) as connection:
        connection.execute("BEGIN")
        connection.execute(
            "UPDATE executions SET version = version + 1, "
            "modified_at = extract(epoch FROM clock_timestamp())::float8 WHERE fid = %s",
            (fid,),
        )
        yield
        connection.execute("COMMIT")
