"""What a page of the timeline costs with many executions behind it: ``python benchmarks/store_timeline.py [100000]``.

Fills the index alone (pages, counts, searches and changes read nothing else), then prints milliseconds per call.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from kodosumi.events import ExecutionState, new_fid
from kodosumi.store import Execution
from kodosumi.store.sqlite import SqliteExecutionStore
from kodosumi.store.sqlite.file import Record

USERS, CALLS, CHUNK = 10, 50, 1_000
START = 1_700_000_000.0


def record(number: int) -> Record:
    """An execution as it stands in the index after its end."""
    at = START + number
    execution = Execution(
        fid=new_fid(at),
        username=f"user-{number % USERS}",
        state=ExecutionState.FINISHED,
        seq=20,
        started_at=at,
        finished_at=at + 5,
        changed_at=at + 5,
        meta={
            "summary": f"Prime gaps number {number}",
            "author": "Ann",
            "tags": ["math", "example"],
            "deprecated": None,
        },
        inputs=json.dumps({"dict": {"start": number, "end": 1000, "note": "some words to look through " * 8}}),
    )
    final = json.dumps({"Markdown": {"body": "the result of a run " * 20}})
    return Record(execution, final, version=3, summary_version=3, modified_at=at + 5)


async def filled(folder: Path, executions: int) -> SqliteExecutionStore:
    store = SqliteExecutionStore(folder)
    await store.check()
    index = store._keeper.index(create=True)
    assert index is not None
    for start in range(0, executions, CHUNK):
        index.adopt([record(number) for number in range(start, min(start + CHUNK, executions))])
    return store


async def measured(name: str, call: Callable[[], Awaitable[object]]) -> None:
    await call()
    spent = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        await call()
        spent.append(1_000 * (time.perf_counter() - begin))
    print(f"{name:<34} p50 {statistics.median(spent):>7.2f} ms, max {max(spent):>7.2f} ms")


async def main(executions: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        store = await filled(Path(folder), executions)
        print(f"{executions:,} executions of {USERS} users, indexed in {time.perf_counter() - begin:.1f} s")
        middle, recent = new_fid(START + executions / 2), START + executions - 20
        await measured("first page of all", lambda: store.executions(limit=25))
        await measured("first page of a user", lambda: store.executions(username="user-3", limit=25))
        await measured("page in the middle", lambda: store.executions(username="user-3", before=middle, limit=25))
        await measured("count of a user", lambda: store.count(username="user-3"))
        await measured("changes, a page", lambda: store.changes(recent, limit=25))
        await measured("search, in every execution", lambda: store.executions(query="prime gaps", limit=25))
        await measured("search, in one old execution", lambda: store.executions(query="number 1234 ", limit=25))
        await measured("search, in none", lambda: store.executions(query="no such words", limit=25))
        await measured("search, two characters, in none", lambda: store.executions(query="§§", limit=25))
        await store.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
