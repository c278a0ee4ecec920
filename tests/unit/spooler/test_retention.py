"""What is old goes by itself, in portions, whatever the stores say meanwhile."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.error import ExecutionNotFound, FilesUnavailable, StoreUnavailable
from kodosumi.events import Batch, Event, EventKind, ExecutionState, Position, new_fid
from kodosumi.files import FileInfo, FileStore
from kodosumi.files.local import LocalFileStore
from kodosumi.files.memory import MemoryFileStore
from kodosumi.retention import Retention
from kodosumi.spooler import Spooler
from kodosumi.store import ExecutionStore, RemoveFiles
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.conditions import until
from tests.file_store_contract import paths, put
from tests.unit.spooler.test_spooler import OWNER, Bench

DAY_S = 86_400.0


class Away(MemoryExecutionStore):
    """A store that can't be reached until it is back."""

    def __init__(self, failure: Exception) -> None:
        super().__init__()
        self.failure: Exception | None = failure
        self.asked = 0

    async def expire(self, before: float, limit: int, remove_files: RemoveFiles | None = None) -> int:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return await super().expire(before, limit, remove_files)


class FilesAway(MemoryFileStore):
    """A store of files that can't be reached until it is back; it tells the uploads' ages as a test wants them."""

    away = False

    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[str, float] = {}

    async def list(self, folder: str) -> list[FileInfo]:
        self._answer()
        whole = [f"{folder}/{info.path}".lstrip("/") for info in await super().list(folder)]
        return [
            info._replace(last_modified=self.changed.get(key, info.last_modified))
            for key, info in zip(whole, await super().list(folder), strict=True)
        ]

    async def remove(self, key: str) -> int:
        self._answer()
        return await super().remove(key)

    def _answer(self) -> None:
        if self.away:
            raise FilesUnavailable("no bucket")


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


def at_once(
    store: ExecutionStore, every_s: float, files: FileStore | None = None, uploads: FileStore | None = None
) -> Retention:
    """Thirty days, uploads an hour, two executions a step, no pause in between."""
    return Retention(
        store,
        files or MemoryFileStore(),
        uploads or MemoryFileStore(),
        days=30,
        upload_max_age_s=3_600,
        first_after_s=0,
        every_s=every_s,
        pause_s=0,
        portion=2,
    )


@asynccontextmanager
async def retained(
    store: ExecutionStore,
    every_s: float = 0.01,
    files: FileStore | None = None,
    uploads: FileStore | None = None,
) -> AsyncIterator[None]:
    task = asyncio.create_task(at_once(store, every_s, files, uploads).run())
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


async def test_files_go_with_their_executions_and_others_stay(store: ExecutionStore) -> None:
    old, young, files = await execution(store, days_ago=31), await execution(store, days_ago=1), FilesAway()
    for fid in (old, young):
        await put(files, f"{OWNER}/{fid}/in/a")
        await put(files, f"{OWNER}/{fid}/out/b/c")

    async with retained(store, files=files):
        await until(lambda: is_gone(store, old))
        assert await paths(files, "") == [f"{OWNER}/{young}/in/a", f"{OWNER}/{young}/out/b/c"]


async def test_an_execution_whose_files_cannot_be_removed_stays_until_they_can(
    store: ExecutionStore, caplog: pytest.LogCaptureFixture
) -> None:
    old, files = await execution(store, days_ago=31), FilesAway()
    await put(files, f"{OWNER}/{old}/in/a")
    files.away = True

    async with retained(store, files=files):
        await until(lambda: [message for message in caplog.messages if old in message and "no bucket" in message])
        assert not await is_gone(store, old)
        files.away = False
        await until(lambda: is_gone(store, old))
    assert await paths(files, "") == []


async def test_an_upload_goes_when_nothing_in_it_was_changed_for_long_and_not_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    uploads, now = FilesAway(), time.time()
    for upload in ("abandoned", "going-on"):
        for name in ("info.json", "1", "2"):
            await put(uploads, f"role/{upload}/{name}")
            uploads.changed[f"role/{upload}/{name}"] = now - 7_200
    uploads.changed["role/going-on/2"] = now - 60
    uploads.away = True

    async with retained(MemoryExecutionStore(), uploads=uploads):
        await until(lambda: [message for message in caplog.messages if "abandoned uploads cannot" in message])
        uploads.away = False
        await until(lambda: paths(uploads, "role/abandoned"), lambda found: not found)
    assert await paths(uploads, "") == [f"role/going-on/{name}" for name in ("1", "2", "info.json")]


async def test_a_spooler_that_starts_and_ends_leaves_every_upload(tmp_path: Path) -> None:
    bench = Bench()
    bench.settings.upload_dir = tmp_path
    uploads = LocalFileStore(tmp_path)
    await put(uploads, "role/upload/info.json")
    os.utime(tmp_path / "role/upload/info.json", (1, 1))
    for _ in range(2):
        async with bench.spooling():
            await until(lambda: [task for task in asyncio.all_tasks() if task.get_name() == "retention"])
    assert await paths(uploads, "") == ["role/upload/info.json"]
    await uploads.close()


@pytest.mark.parametrize(("days", "stays"), [(None, True), (7, False)])
async def test_the_setting_says_whether_executions_go(days: float | None, stays: bool, tmp_path: Path) -> None:
    store = MemoryExecutionStore()
    settings = Settings(retention_days=days, upload_max_age=60, exec_dir=tmp_path / "e", upload_dir=tmp_path / "u")
    retention = Retention.from_settings(settings, store)
    old = await execution(store, days_ago=8)
    uploads = LocalFileStore(tmp_path / "u")
    await put(uploads, "role/upload/1")
    os.utime(tmp_path / "u/role/upload/1", (1, 1))

    await retention._round()

    assert await is_gone(store, old) is not stays
    assert await uploads.list("") == []
    await uploads.close()
    await retention._files.close()
    await retention._uploads.close()


async def test_launches_that_never_began_go_after_a_day_and_younger_ones_stay(
    store: ExecutionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, living = new_fid(), await execution(store, days_ago=2, state=ExecutionState.RUNNING)
    for fid in (lost, living):
        await store.keep_launch(fid, OWNER, b"x")
    old = await execution(store, days_ago=31)
    async with retained(store):
        await until(lambda: is_gone(store, old))
        assert await store.launch(lost) == b"x"
    monkeypatch.setattr("kodosumi.retention.LOST_LAUNCH_S", -60.0)

    async def is_lost() -> bool:
        with suppress(ExecutionNotFound):
            await store.launch(lost)
            return False
        return True

    async with retained(store):
        await until(is_lost)
    assert await store.launch(living) == b"x"
