"""How fast the SQLite store takes events: ``python benchmarks/store_append.py``.

Prints events per second for batches of 1,000 into one execution and into four at once, and milliseconds (p50, p99)
for a first event that begins an execution and for single events into one that runs.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from kodosumi.store.sqlite import SqliteExecutionStore

OWNER = "benchmark"
BATCHES, BATCH_EVENTS, SINGLES, BEGINNINGS = 100, 1_000, 1_000, 200
LINE = "a line of an ordinary length, as a print statement makes it, number {}"


async def burst(store: SqliteExecutionStore) -> None:
    """One execution gets its batches one after the other."""
    fid = new_fid()
    events = [Event.now(EventKind.STDOUT, LINE.format(number)) for number in range(BATCH_EVENTS)]
    for offset in range(BATCHES):
        await store.append(fid, OWNER, [Batch(Position(1, offset), events)])


async def rate(executions: int, store: SqliteExecutionStore) -> float:
    """Events per second."""
    begin = time.perf_counter()
    await asyncio.gather(*(burst(store) for _ in range(executions)))
    return executions * BATCHES * BATCH_EVENTS / (time.perf_counter() - begin)


async def durations_ms(count: int, call: Callable[[int], Awaitable[object]]) -> str:
    """Median and 99th percentile of calls one after the other."""
    spent = []
    for number in range(count):
        begin = time.perf_counter()
        await call(number)
        spent.append(1_000 * (time.perf_counter() - begin))
    return f"p50 {statistics.median(spent):.2f} ms, p99 {statistics.quantiles(spent, n=100)[-1]:.2f} ms"


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteExecutionStore(Path(folder))
        await burst(store)
        print(f"batches of {BATCH_EVENTS}, one execution:   {await rate(1, store):>9,.0f} events/s")
        print(f"batches of {BATCH_EVENTS}, four executions: {await rate(4, store):>9,.0f} events/s")
        fid, event = new_fid(), Event.now(EventKind.STDOUT, LINE)

        async def single(number: int) -> None:
            await store.append(fid, OWNER, [Batch(Position(1, number), [event])])

        async def begin(number: int) -> None:
            await store.append(new_fid(), OWNER, [Batch(Position(1, number), [event])])

        print(f"a single event:      {await durations_ms(SINGLES, single)}")
        print(f"a new execution:     {await durations_ms(BEGINNINGS, begin)}")
        await store.close()


if __name__ == "__main__":
    asyncio.run(main())
