"""How fast the PostgreSQL store is: ``python benchmarks/postgres_store.py [executions]``.

Starts a server of its own, with its defaults, on this machine. Prints events per second appended from 20 executions at
once and read by pages, and milliseconds (p50, p99) for a single event, a new execution, and pages of the timeline.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from kodosumi.store.postgres import PostgresExecutionStore
from tests.servers.postgres import PostgresServer

OWNER = "0d4e9c6e-0000-4000-8000-000000000001"
LINE = "a line of an ordinary length, as a print statement makes it, number {}"
EXECUTIONS, BATCHES, BATCH_EVENTS = 20, 30, 1_000
LARGE, PAGE = 1_000_000, 1_000
SINGLES, CALLS, USERS = 1_000, 100, 10
START = 1_700_000_000.0

FILL = """
    INSERT INTO executions (fid, username, version, seq, state, started_at, finished_at, changed_at, modified_at)
    SELECT lpad(to_hex(1700000000 + n), 8, '0') || lpad(to_hex(n), 16, '0'), 'user-' || n % {users}, 3, 20, 'finished',
        1700000000 + n, 1700000005 + n, 1700000005 + n, 1700000005 + n FROM generate_series(1, {rows}) n;
    INSERT INTO execution_details (fid, meta, inputs, error, final, search)
    SELECT lpad(to_hex(1700000000 + n), 8, '0') || lpad(to_hex(n), 16, '0'), '{meta}', '{inputs}', NULL, '',
        'summary:prime gaps number ' || n || ' author:ann tag:math inputs:{inputs}' FROM generate_series(1, {rows}) n;
    INSERT INTO execution_tally (username, listed)
    SELECT 'user-' || n, {rows} / {users} FROM generate_series(0, {users} - 1) n;
"""


def lines(count: int) -> list[Event]:
    return [Event.now(EventKind.STDOUT, LINE.format(number)) for number in range(count)]


async def burst(store: PostgresExecutionStore, batches: int, events: int) -> str:
    """One execution gets its batches one after the other."""
    fid, batch = new_fid(), lines(events)
    for offset in range(batches):
        await store.append(fid, OWNER, [Batch(Position(1, offset), batch)])
    return fid


async def append_rate(store: PostgresExecutionStore, events: int) -> float:
    """Events per second from all executions at once."""
    begin = time.perf_counter()
    await asyncio.gather(*(burst(store, BATCHES, events) for _ in range(EXECUTIONS)))
    return EXECUTIONS * BATCHES * events / (time.perf_counter() - begin)


async def read_rate(store: PostgresExecutionStore, fid: str) -> tuple[float, float]:
    """Events per second of one execution read from its beginning, and seconds to its first 100."""
    begin = time.perf_counter()
    await store.events(fid, 0, 100)
    first_s = time.perf_counter() - begin
    seen, begin = 0, time.perf_counter()
    while page := await store.events(fid, seen, PAGE):
        seen = page[-1].seq
    return seen / (time.perf_counter() - begin), first_s


async def durations_ms(count: int, call: Callable[[int], Awaitable[object]]) -> str:
    """Median and 99th percentile of calls one after the other."""
    spent = []
    for number in range(count):
        begin = time.perf_counter()
        await call(number)
        spent.append(1_000 * (time.perf_counter() - begin))
    return f"p50 {statistics.median(spent):7.2f} ms, p99 {statistics.quantiles(spent, n=100)[-1]:7.2f} ms"


async def measure_appends(store: PostgresExecutionStore) -> None:
    await burst(store, 2, BATCH_EVENTS)
    for events in (500, BATCH_EVENTS):
        rate = await append_rate(store, events)
        print(f"append, batches of {events:>5}, {EXECUTIONS} executions   {rate:>9,.0f} events/s")
    fid, event = new_fid(), lines(1)
    await store.append(fid, OWNER, [Batch(Position(1, 0), event)])

    async def single(number: int) -> None:
        await store.append(fid, OWNER, [Batch(Position(1, number + 1), event)])

    async def begin(number: int) -> None:
        await store.append(new_fid(), OWNER, [Batch(Position(1, number), event)])

    print(f"a single event                             {await durations_ms(SINGLES, single)}")
    print(f"a new execution                            {await durations_ms(SINGLES, begin)}")


async def measure_reads(store: PostgresExecutionStore) -> None:
    begin = time.perf_counter()
    fid = await burst(store, LARGE // 5_000, 5_000)
    print(f"append, batches of  5000, one execution    {LARGE / (time.perf_counter() - begin):>9,.0f} events/s")
    rate, first_s = await read_rate(store, fid)
    print(f"read {LARGE:,} events, pages of {PAGE}     {rate:>9,.0f} events/s, first 100 in {1_000 * first_s:.1f} ms")


async def measure_timeline(store: PostgresExecutionStore, rows: int) -> None:
    middle, recent = new_fid(START + rows / 2), START + rows - 20
    calls: dict[str, Callable[[int], Awaitable[object]]] = {
        "first page of all": lambda _: store.executions(limit=25),
        "first page of a user": lambda _: store.executions(username="user-3", limit=25),
        "page in the middle": lambda _: store.executions(username="user-3", before=middle, limit=25),
        "count of all": lambda _: store.count(),
        "changes, a page": lambda _: store.changes(recent, limit=25),
        "search, in every execution": lambda _: store.executions(query="prime gaps", limit=25),
        "search, in one old execution": lambda _: store.executions(query="number 1234 ", limit=25),
    }
    print(f"with {rows:,} executions:")
    for name, call in calls.items():
        print(f"  {name:<40} {await durations_ms(CALLS if 'old' not in name else 5, call)}")


def fill(server: PostgresServer, database: str, rows: int) -> None:
    """Puts finished executions into the tables."""
    meta = json.dumps({"summary": "Prime gaps", "author": "Ann", "tags": ["math", "example"]})
    inputs = json.dumps({"dict": {"start": 1, "end": 1000, "note": "some words to look through " * 8}})
    with server.connected(database) as connection:
        connection.execute(FILL.format(rows=rows, users=USERS, meta=meta, inputs=inputs))  # type: ignore[arg-type]
    server.execute("VACUUM ANALYZE", database)


async def main(url: str, server: PostgresServer, database: str, rows: int) -> None:
    store = PostgresExecutionStore(url)
    await measure_appends(store)
    await measure_reads(store)
    fill(server, database, rows)
    await measure_timeline(store, rows)
    await store.close()


if __name__ == "__main__":
    plant = PostgresServer()
    try:
        plant.start()
        name = plant.create_database()
        executions = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
        asyncio.run(main(plant.url(name), plant, name, executions))
    finally:
        plant.remove()
