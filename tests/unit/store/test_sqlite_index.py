"""The index is derived: missing, damaged or behind, it comes back from the executions' files."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest

from kodosumi.events import EventKind, ExecutionState
from kodosumi.store import Execution, ExecutionStore
from kodosumi.store.sqlite import SqliteExecutionStore
from kodosumi.store.sqlite import index as index_module
from kodosumi.store.sqlite.file import Record
from tests.unit.store.histories import FINISHED, OTHER, OWNER, batch, begun, ended, event, fids, meta, payloads, text


async def populated(store: ExecutionStore) -> list[Execution]:
    await ended(store, meta(summary="Prime"), event(EventKind.FINAL, "forty-two"))
    await begun(store, username=OTHER)
    await store.archive(await ended(store))
    return await seen(store)


async def seen(store: ExecutionStore) -> list[Execution]:
    return [change.execution for change in await store.changes(0.0)]


@pytest.mark.parametrize("damage", ["missing", "text", "empty", "cut", "other version", "wal kept"])
async def test_an_index_that_is_missing_or_damaged_is_made_anew(
    exec_dir: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteExecutionStore(exec_dir)
    before = await populated(store)
    modified = [change.modified_at for change in await store.changes(0.0)]
    await store.close()
    index = exec_dir / "index.db"
    match damage:
        case "missing":
            index.unlink()
        case "text":
            index.write_text("no database " * 999)
        case "empty":
            index.write_bytes(b"")
        case "cut":
            index.write_bytes(index.read_bytes()[: 4096 * 6 + 100])
        case "other version":
            with contextlib.closing(sqlite3.connect(index)) as connection:
                connection.execute("PRAGMA user_version = 99")
        case "wal kept":
            index.unlink()
            Path(f"{index}-wal").write_bytes(b"left behind" * 999)

    store = SqliteExecutionStore(exec_dir)
    assert await seen(store) == before
    assert [change.modified_at for change in await store.changes(0.0)] == pytest.approx(modified, abs=60)
    assert len(await fids(store, query="forty-two")) == 1
    assert await store.count() == 2 and await store.count(username=OTHER) == 1
    assert [one.username for one in await store.live()] == [OTHER]
    await store.close()
    if damage in ("text", "cut", "other version"):
        assert list(exec_dir.glob("index.db.damaged-*"))
        assert "made anew" in caplog.text


@pytest.mark.parametrize("damage", ["removed", "replaced"])
async def test_an_index_lost_while_the_store_is_open_is_made_anew(exec_dir: Path, damage: str) -> None:
    store, other = SqliteExecutionStore(exec_dir), SqliteExecutionStore(exec_dir)
    before = await populated(store)
    assert await seen(other) == before
    (exec_dir / "index.db").rename(exec_dir / "index.db.gone")
    if damage == "replaced":
        (exec_dir / "index.db").write_text("no database " * 999)
    assert await seen(store) == before
    fid = await ended(store)
    assert (await fids(other))[0] == fid
    await store.close()
    await other.close()


async def test_pages_overwritten_under_an_open_store_lead_to_a_new_index(exec_dir: Path) -> None:
    store = SqliteExecutionStore(exec_dir)
    before = await populated(store)
    await store.close()
    index = exec_dir / "index.db"
    store = SqliteExecutionStore(exec_dir)
    assert await store.count() == 2
    with index.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (index.stat().st_size - 4096))
    for answer in await asyncio.gather(*(seen(store) for _ in range(8))):
        assert answer == before
    fid = await ended(store)
    assert (await fids(store))[0] == fid
    await store.close()


async def test_an_index_behind_its_files_catches_up_when_the_store_is_opened(
    exec_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteExecutionStore(exec_dir)
    fid = await begun(store)
    # as if the process died between the two commits
    monkeypatch.setattr(index_module.Index, "put", lambda *_, **__: None)
    await store.append(fid, OWNER, [batch(2, text("x"), meta(summary="Prime"), FINISHED)])
    born = await begun(store)
    assert (await store.execution(fid)).seq == 1
    monkeypatch.undo()
    await store.close()

    store = SqliteExecutionStore(exec_dir)
    execution = await store.execution(fid)
    assert (execution.seq, execution.state) == (4, ExecutionState.FINISHED)
    assert await fids(store, query="prime") == [fid]
    assert await fids(store) == [born, fid]
    await store.close()


async def test_no_reader_sees_an_event_that_the_summary_does_not_know_yet(
    exec_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, reader = SqliteExecutionStore(exec_dir), SqliteExecutionStore(exec_dir)
    fid = await begun(writer)
    assert await payloads(reader, fid) == ["starting"]  # it has opened the index and will not repair it
    put, committed, released = index_module.Index.put, threading.Event(), threading.Event()

    def put_late(self: index_module.Index, record: Record, *, known_version: int = -1) -> None:
        committed.set()
        assert released.wait(60)
        put(self, record, known_version=known_version)

    monkeypatch.setattr(index_module.Index, "put", put_late)
    append = asyncio.create_task(writer.append(fid, OWNER, [batch(2, event(EventKind.FINAL, "42"), FINISHED)]))
    try:
        assert await asyncio.to_thread(committed.wait, 60)
        assert await payloads(reader, fid) == ["starting"]
        assert await reader.last_event(fid, EventKind.FINAL) is None
        assert (await reader.execution(fid)).seq == 1
    finally:
        released.set()
    await append
    assert await payloads(reader, fid) == ["starting", "42", "finished"]
    assert (await reader.execution(fid)).state is ExecutionState.FINISHED
    await writer.close()
    await reader.close()


async def test_a_batch_delivered_again_brings_the_index_up_too(exec_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteExecutionStore(exec_dir)
    fid = await begun(store)

    def fail(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(index_module.Index, "put", fail)
    with pytest.raises(sqlite3.OperationalError):
        await store.append(fid, OWNER, [batch(2, FINISHED)])
    monkeypatch.undo()
    appended = await store.append(fid, OWNER, [batch(2, FINISHED)])
    assert appended == (2, 0, 0, ExecutionState.FINISHED)
    assert (await store.execution(fid)).state is ExecutionState.FINISHED
    assert await payloads(store, fid) == ["starting", "finished"]
    await store.close()


async def test_executions_whose_folder_was_removed_by_hand_leave_the_index(exec_dir: Path) -> None:
    store = SqliteExecutionStore(exec_dir)
    done, living, kept = await ended(store), await begun(store), await ended(store)
    await store.close()
    shutil.rmtree(exec_dir / OWNER / done)
    shutil.rmtree(exec_dir / OWNER / living)
    store = SqliteExecutionStore(exec_dir)
    assert await fids(store) == [kept] and await store.live() == []
    await store.close()


async def test_a_purge_cut_short_is_completed_when_the_store_is_opened(
    exec_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteExecutionStore(exec_dir)
    fid = await ended(store)
    with monkeypatch.context() as patch:
        patch.setattr("kodosumi.store.sqlite.store.remove_folder", lambda folder: None)
        await store.purge(fid)
    await store.close()
    assert (exec_dir / OWNER / fid).exists()
    store = SqliteExecutionStore(exec_dir)
    assert await store.count() == 0
    assert not (exec_dir / OWNER / fid).exists()
    await store.close()


async def test_two_stores_that_open_a_folder_at_once_agree(exec_dir: Path) -> None:
    store = SqliteExecutionStore(exec_dir)
    before = await populated(store)
    await store.close()
    (exec_dir / "index.db").unlink()
    stores = [SqliteExecutionStore(exec_dir) for _ in range(4)]
    assert await asyncio.gather(*map(seen, stores)) == [before] * 4
    assert await stores[0].count() == 2
    for store in stores:
        await store.close()


async def test_a_search_deep_in_the_history_finds_ended_and_living_ones(
    sqlite: SqliteExecutionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "SCAN_ROWS", 2)
    done = await ended(sqlite, meta(summary='Deep "prime"'))
    living = await begun(sqlite, meta(summary='deep "PRIME"'))
    theirs = await ended(sqlite, meta(summary='deep "prime"'), username=OTHER)
    hidden = await ended(sqlite, meta(summary='deep "prime"'))
    await sqlite.archive(hidden)
    for _ in range(4):
        await ended(sqlite, meta(summary="shallow"))
    assert await fids(sqlite, query='deep "prime"') == [theirs, living, done]
    assert await fids(sqlite, query='deep "prime"', username=OWNER) == [living, done]
    assert await fids(sqlite, query="deep", before=living) == [done]
    assert await fids(sqlite, query="deep", after=living) == [theirs]
    assert await fids(sqlite, query="deep", limit=1) == [theirs]


async def test_lists_read_an_index_and_sort_nothing(sqlite: SqliteExecutionStore, exec_dir: Path) -> None:
    await begun(sqlite)
    plans: list[str] = []
    read = index_module.Index._rows

    def explaining(self: index_module.Index, query: str, values: object) -> object:
        plans.extend(row[3] for row in read(self, f"EXPLAIN QUERY PLAN {query}", values))
        return read(self, query, values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module.Index, "_rows", explaining)
        await sqlite.executions(username=OWNER, before="f", after="0")
        await sqlite.executions(before="f")
        await sqlite.executions()
        await sqlite.changes(0.0, username=OWNER)
        await sqlite.changes(0.0)
        await sqlite.live()
        await sqlite.archived(0.0)
        await sqlite.count(username=OWNER)
    assert not [plan for plan in plans if "TEMP B-TREE" in plan or plan == "SCAN execution"], plans
