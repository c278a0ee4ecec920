"""The files of the SQLite store: the published layout, folders of earlier versions, names that are data."""

from __future__ import annotations

from pathlib import Path

import pytest

from kodosumi.error import ExecutionNotFound, StoreError
from kodosumi.events import EventKind, ExecutionState, new_fid
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.unit.store.histories import (
    FINISHED,
    OTHER,
    OWNER,
    RUNNING,
    STARTING,
    batch,
    begun,
    ended,
    event,
    fids,
    meta,
    payloads,
    text,
)
from tests.unit.store.layout import change, database, older_execution, rows

OLDER = [STARTING, event(EventKind.INPUTS, '{"dict": {}}'), meta(summary="Old prime"), RUNNING, text("old")]


async def test_making_and_reading_a_store_creates_nothing(sqlite: SqliteExecutionStore, exec_dir: Path) -> None:
    assert await sqlite.executions() == []
    with pytest.raises(ExecutionNotFound):
        await sqlite.events(new_fid())
    assert not exec_dir.exists()


async def test_events_lie_in_the_published_table(sqlite: SqliteExecutionStore, exec_dir: Path) -> None:
    fid = await ended(sqlite, text("hello"))
    assert rows(database(exec_dir, OWNER, fid), "SELECT id, timestamp, kind, message FROM monitor ORDER BY id") == [
        (1, 1_000.0, "status", "starting"),
        (2, 1_000.0, "stdout", "hello"),
        (3, 1_009.0, "status", "finished"),
    ]
    assert rows(database(exec_dir, OWNER, fid), "PRAGMA journal_mode") == [("wal",)]


async def test_a_closed_store_leaves_one_file_per_execution(sqlite: SqliteExecutionStore, exec_dir: Path) -> None:
    fid = await ended(sqlite)
    await sqlite.close()
    assert [path.name for path in (exec_dir / OWNER / fid).iterdir()] == ["sqlite3.db"]


async def test_more_executions_than_may_be_open_are_all_kept(sqlite: SqliteExecutionStore) -> None:
    made = [await begun(sqlite) for _ in range(80)]
    for fid in made:
        await sqlite.append(fid, OWNER, [batch(2, FINISHED)])
    assert await sqlite.live() == [] and await sqlite.count() == 80
    assert await payloads(sqlite, made[0]) == ["starting", "finished"]


async def test_purging_removes_files_in_and_out(sqlite: SqliteExecutionStore, exec_dir: Path) -> None:
    fid = await ended(sqlite)
    folder = exec_dir / OWNER / fid
    for name in ("in", "out"):
        (folder / name / "deep").mkdir(parents=True)
        (folder / name / "deep" / "file.txt").write_text("x")
    await sqlite.archive(fid)
    assert (folder / "in" / "deep" / "file.txt").exists()
    await sqlite.purge(fid)
    assert not folder.exists() and folder.parent.exists()


# earlier versions


async def test_a_folder_of_an_earlier_version_is_listed_searched_and_streamed(exec_dir: Path) -> None:
    done, other = new_fid(), new_fid()
    older_execution(exec_dir, OWNER, done, [*OLDER, event(EventKind.FINAL, '{"str": "42"}'), FINISHED])
    older_execution(exec_dir, OTHER, other, OLDER)
    store = SqliteExecutionStore(exec_dir)
    try:
        assert await fids(store) == [other, done]
        assert await fids(store, username=OWNER, query="old PRIME") == [done]
        execution = await store.execution(done)
        assert (execution.seq, execution.state, execution.username) == (7, ExecutionState.FINISHED, OWNER)
        assert [stored.seq for stored in await store.events(done, after=4)] == [5, 6, 7]
        last = await store.last_event(done, EventKind.FINAL)
        assert last is not None and last.payload == '{"str": "42"}'
        assert [one.fid for one in await store.live()] == [other]
        assert await store.count() == 2
    finally:
        await store.close()


async def test_reading_leaves_a_file_of_an_earlier_version_as_it_is(exec_dir: Path) -> None:
    fid = new_fid()
    path = older_execution(exec_dir, OWNER, fid, OLDER)
    before = path.read_bytes()
    store = SqliteExecutionStore(exec_dir)
    assert len(await store.events(fid)) == 5
    await store.close()
    assert path.read_bytes() == before


async def test_an_execution_of_an_earlier_version_can_be_ended_archived_and_purged(exec_dir: Path) -> None:
    fid = new_fid()
    older_execution(exec_dir, OWNER, fid, OLDER)
    store = SqliteExecutionStore(exec_dir)
    try:
        appended = await store.append(fid, OWNER, [batch(1, event(EventKind.ERROR, "lost")), batch(2, FINISHED)])
        assert appended == (7, 2, 0, ExecutionState.FINISHED)
        assert (await payloads(store, fid))[-3:] == ["old", "lost", "finished"]
        assert (await store.execution(fid)).meta == {"summary": "Old prime"}
        await store.archive(fid)
        assert await store.count() == 0
        await store.purge(fid)
        assert not (exec_dir / OWNER / fid).exists()
    finally:
        await store.close()


async def test_an_ended_execution_of_an_earlier_version_can_be_archived_for_good(exec_dir: Path) -> None:
    fid = new_fid()
    older_execution(exec_dir, OWNER, fid, [*OLDER, FINISHED])
    store = SqliteExecutionStore(exec_dir)
    await store.archive(fid)
    await store.close()
    (exec_dir / "index.db").unlink()
    store = SqliteExecutionStore(exec_dir)
    assert await store.count() == 0 and (await store.execution(fid)).archived
    await store.close()


async def test_folders_copied_in_later_are_found_when_the_store_is_opened(exec_dir: Path) -> None:
    store = SqliteExecutionStore(exec_dir)
    mine = await ended(store)
    await store.close()
    old = new_fid()
    older_execution(exec_dir, OWNER, old, [*OLDER, FINISHED])
    store = SqliteExecutionStore(exec_dir)
    assert await fids(store) == [old, mine]
    await store.close()


async def test_odd_rows_of_an_earlier_version_are_shown_as_far_as_possible(exec_dir: Path) -> None:
    fid = new_fid()
    odd = [STARTING, ("agent_x", 5.0, "unknown kind"), ("stdout", None, None), ("stdout", 6.0, "x"), FINISHED]
    path = older_execution(exec_dir, OWNER, fid, [*odd, text("after")])
    change(path, "UPDATE monitor SET message = CAST(x'61ff62' AS TEXT) WHERE id = 4")
    store = SqliteExecutionStore(exec_dir)
    events = await store.events(fid)
    assert [stored.seq for stored in events] == [1, 2, 3, 4, 5, 6]
    assert events[1].kind is EventKind.DEBUG and events[2][2:] == (0.0, "")
    assert events[3].payload == "a\ufffdb"
    assert (await store.execution(fid)).seq == 6
    await store.close()


async def test_what_is_no_execution_is_left_alone(exec_dir: Path) -> None:
    (exec_dir / OWNER / "empty").mkdir(parents=True)
    (exec_dir / OWNER / "text").mkdir()
    (exec_dir / OWNER / "text" / "sqlite3.db").write_text("this is no database, not at all")
    (exec_dir / OWNER / "note.txt").write_text("x")
    (exec_dir / "lost+found").mkdir()
    good = new_fid()
    older_execution(exec_dir, OWNER, good, OLDER)
    store = SqliteExecutionStore(exec_dir)
    assert await fids(store) == [good]
    await store.close()
    assert (exec_dir / OWNER / "text" / "sqlite3.db").read_text() == "this is no database, not at all"


async def test_one_damaged_file_is_the_trouble_of_its_execution_alone(exec_dir: Path) -> None:
    store = SqliteExecutionStore(exec_dir)
    broken = await begun(store)
    await store.close()
    database(exec_dir, OWNER, broken).write_bytes(b"no database" * 1_000)
    store = SqliteExecutionStore(exec_dir)
    try:
        with pytest.raises(StoreError, match="damaged"):
            await store.append(broken, OWNER, [batch(2, FINISHED)])
        with pytest.raises(StoreError, match="damaged"):
            await store.events(broken)
        good = await ended(store)
        assert await fids(store) == [good, broken]
    finally:
        await store.close()


# names are data

EVIL = [
    "..",
    ".",
    "",
    "../x",
    "a/b",
    "/etc",
    "a\\b",
    "a\0b",
    "x" * 300,
    "index.db",
    "index.db-wal",
    "\ud800",
    "c:x",
    ".git",
]


@pytest.mark.parametrize("name", EVIL)
async def test_a_name_that_could_lead_elsewhere_is_refused(
    sqlite: SqliteExecutionStore, exec_dir: Path, tmp_path: Path, name: str
) -> None:
    for fid, username in ((name, OWNER), (new_fid(), name)):
        with pytest.raises(StoreError):
            await sqlite.append(fid, username, [batch(1, STARTING)])
    for read in (sqlite.events(name), sqlite.execution(name), sqlite.archive(name)):
        with pytest.raises(ExecutionNotFound):
            await read
    await sqlite.purge(name)
    assert await sqlite.executions(username=name, before=name, after=name, query=name) == []
    assert await sqlite.count(username=name) == 0
    assert not exec_dir.exists() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["_annon_", "ä b", "50%", "a?b#c", "x" * 200, "it's"])
async def test_an_unusual_name_is_just_a_name(sqlite: SqliteExecutionStore, exec_dir: Path, name: str) -> None:
    await sqlite.append(name, name, [batch(1, STARTING)])
    assert await payloads(sqlite, name) == ["starting"]
    assert database(exec_dir, name, name).exists()
    assert await sqlite.count(username=name) == 1
