"""A process that appends, for tests that kill it or start several: ``python -m … EXEC_DIR FID RUNS BATCHES SIZE``.

Prints one line behind each append that returned: ``fid offset``. All its batches follow from the arguments, so
that two processes append the same.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from kodosumi.events import Batch
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.unit.store.histories import FINISHED, OWNER, STARTING, batch, text


def batches(count: int, size: int) -> list[Batch]:
    first = [STARTING, *(text(f"1.{number}") for number in range(1, size))]
    others = [[text(f"{offset}.{number}") for number in range(size)] for offset in range(2, count)]
    return [batch(offset, *events) for offset, events in enumerate([first, *others, [FINISHED]], 1)]


def fid_of(prefix: str, number: int) -> str:
    return f"{prefix}{number:04d}"


async def append(exec_dir: Path, prefix: str, runs: int, count: int, size: int) -> None:
    store = SqliteExecutionStore(exec_dir)
    for number in range(runs):
        fid = fid_of(prefix, number)
        for one in batches(count, size):
            await store.append(fid, OWNER, [one])
            print(fid, one.position.offset, flush=True)
    await store.close()


if __name__ == "__main__":
    folder, name, *figures = sys.argv[1:]
    asyncio.run(append(Path(folder), name, *map(int, figures)))
