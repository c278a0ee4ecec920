"""Several processes on one folder, and processes that die: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from kodosumi.events import Event, ExecutionState
from kodosumi.store import Execution
from kodosumi.store.sqlite import SqliteExecutionStore
from kodosumi.store.summary import advance
from tests.unit.store import appending_process
from tests.unit.store.histories import OWNER, fids

ROOT = Path(__file__).parents[3]


@pytest.fixture
def exec_dir(tmp_path: Path) -> Path:
    return tmp_path / "execution"


async def start(exec_dir: Path, prefix: str, runs: int, count: int, size: int) -> Process:
    arguments = ["-m", "tests.unit.store.appending_process", str(exec_dir), prefix, f"{runs}", f"{count}", f"{size}"]
    return await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, cwd=ROOT)


async def assert_sound(store: SqliteExecutionStore, fid: str, count: int, size: int, at_least: int) -> int:
    """The execution has a whole number of batches, in order, without gap or duplicate, and the index agrees."""
    expected = [event for batch in appending_process.batches(count, size) for event in batch.events]
    stored = await store.events(fid, limit=100_000)
    assert [one.seq for one in stored] == list(range(1, len(stored) + 1))
    assert [Event(*one[1:]) for one in stored] == expected[: len(stored)]
    assert len(stored) % size == 0 or len(stored) == len(expected)
    assert len(stored) >= at_least
    assert await store.execution(fid) == advance(Execution(fid, OWNER), expected[: len(stored)])
    return len(stored)


@pytest.mark.fault
@pytest.mark.parametrize("appends_before_the_kill", [1, 2, 25, 60])
async def test_nothing_is_lost_when_the_writer_is_killed_in_the_middle_of_a_burst(
    exec_dir: Path, appends_before_the_kill: int
) -> None:
    count, size = 20, 50
    writer = await start(exec_dir, "kill", 200, count, size)
    assert writer.stdout is not None
    confirmed: dict[str, int] = {}
    for _ in range(appends_before_the_kill):
        fid, offset = (await writer.stdout.readline()).decode().split()
        confirmed[fid] = int(offset)
    writer.kill()
    await writer.wait()
    for line in (await writer.stdout.read()).decode().splitlines():
        if len(parts := line.split()) == 2:
            confirmed[parts[0]] = int(parts[1])

    store = SqliteExecutionStore(exec_dir)
    try:
        listed = await fids(store, limit=1_000)
        assert set(confirmed) <= set(listed) and len(listed) <= len(confirmed) + 1
        for fid in listed:
            at_least = min(confirmed.get(fid, 0) * size, (count - 1) * size + 1)
            await assert_sound(store, fid, count, size, at_least)
        assert [one.fid for one in await store.live()] == [
            fid for fid in sorted(listed) if not (await store.execution(fid)).state.terminal
        ]
        assert await store.count() == len(listed)
        # whoever takes over delivers all of it again
        fid = max(listed)
        for batch in appending_process.batches(count, size):
            await store.append(fid, OWNER, [batch])
        assert await assert_sound(store, fid, count, size, 0) == (count - 1) * size + 1
        assert await store.live() == []
    finally:
        await store.close()


@pytest.mark.fault
async def test_nothing_twice_when_two_processes_append_the_same_batches(exec_dir: Path) -> None:
    runs, count, size = 5, 20, 20
    writers = [await start(exec_dir, "same", runs, count, size) for _ in range(2)]
    store = SqliteExecutionStore(exec_dir)
    for writer in writers:
        await writer.communicate()
        assert writer.returncode == 0
    try:
        for number in range(runs):
            fid = appending_process.fid_of("same", number)
            await assert_sound(store, fid, count, size, (count - 1) * size + 1)
            assert (await store.execution(fid)).state is ExecutionState.FINISHED
        assert await store.count() == runs and await store.live() == []
        assert len(await store.changes(0.0)) == runs
    finally:
        await store.close()
