"""What is left in the tables when executions are removed: nothing in the end, whatever interrupts it."""

from __future__ import annotations

import asyncio

import pytest

from kodosumi.error import ExecutionNotFound
from kodosumi.events import ExecutionState
from kodosumi.store.postgres import appending, removal
from tests.integration.store.conftest import MakeStore
from tests.servers.postgres import PostgresServer
from tests.store_contract import ended_at
from tests.unit.store.histories import FINISHED, OWNER, STARTING, batch, begun, fids, status, text

MANY = 2 * removal.STEP_EVENTS + 10


def rows(server: PostgresServer, url: str, table: str, where: str = "true") -> int:
    """How many rows there are."""
    found: int = server.execute(f"SELECT count(*) FROM {table} WHERE {where}", url.rpartition("/")[2])[0][0]
    return found


@pytest.mark.parametrize("way", ["purge", "expire"])
async def test_a_large_execution_is_removed_to_the_last_row(
    postgres_server: PostgresServer, postgres_url: str, make_store: MakeStore, way: str
) -> None:
    store = make_store(postgres_url)
    fid = await begun(store, *[text("x")] * MANY, FINISHED)
    kept = await begun(store, text("kept"), status(ExecutionState.FINISHED, at=2_000.0))
    if way == "purge":
        await store.purge(fid)
    else:
        assert await store.expire(5_000.0, 1) == 1
    with pytest.raises(ExecutionNotFound):
        await store.execution(fid)
    assert await fids(store) == [kept] and await store.count() == 1
    assert rows(postgres_server, postgres_url, "execution_events") == 3
    assert rows(postgres_server, postgres_url, "execution_details") == 1
    assert rows(postgres_server, postgres_url, "executions", "purged AND seq = 0") == 1


async def test_what_an_interrupted_removal_left_is_removed_by_the_next(
    postgres_server: PostgresServer, postgres_url: str, make_store: MakeStore
) -> None:
    store = make_store(postgres_url)
    for size in (MANY, 3, 4):
        fid = await begun(store, *[text("x")] * size, FINISHED)
        # as after a crash right behind the first step
        await store._rows("UPDATE executions SET purged = true, archived = true WHERE fid = $1", fid)
        with pytest.raises(ExecutionNotFound):
            await store.events(fid)
    assert await store.expire(0.0, 10) == 0
    assert rows(postgres_server, postgres_url, "execution_events") == 0


async def test_the_memory_of_a_removed_execution_ends(
    postgres_server: PostgresServer, postgres_url: str, make_store: MakeStore
) -> None:
    store = make_store(postgres_url)
    old, young = await ended_at(store, 1.0), await ended_at(store, 2.0)
    assert await store.expire(10.0, 10) == 2
    await store._rows("UPDATE executions SET modified_at = 1 WHERE fid = $1", old)
    assert await store.expire(10.0, 10) == 0
    assert rows(postgres_server, postgres_url, "executions", f"fid = '{old}'") == 0
    assert (await store.append(young, OWNER, [batch(9, STARTING)])).stored == 0


async def test_only_one_process_removes_at_a_time(postgres_url: str, make_store: MakeStore) -> None:
    one, other = make_store(postgres_url), make_store(postgres_url)
    await ended_at(one, 1.0)
    holding, release = asyncio.Event(), asyncio.Event()

    async def hold(connection: object) -> None:
        holding.set()
        await release.wait()

    held = asyncio.ensure_future(removal._alone(one._pool, hold))
    await holding.wait()
    assert await other.expire(10.0, 10) == 0
    release.set()
    await held
    assert await other.expire(10.0, 10) == 1


async def test_counts_are_added_up_and_stay_right(
    postgres_server: PostgresServer, postgres_url: str, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "COMPACT_EVERY", 1)
    stores = [make_store(postgres_url) for _ in range(3)]
    made = await asyncio.gather(*(ended_at(stores[number % 3], 1.0) for number in range(30)))
    await asyncio.gather(*(stores[number % 3].archive(fid) for number, fid in enumerate(made[:10])))
    assert await stores[0].count() == 20 == await stores[0].count(username=OWNER)
    assert await stores[0].expire(0.0, 1) == 0
    assert rows(postgres_server, postgres_url, "execution_tally") == 1
    assert await stores[0].count() == 20
