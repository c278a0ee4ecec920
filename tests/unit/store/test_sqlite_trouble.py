"""A store that can't be written says so with the reason, leaves no trace, and works again by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi.error import StoreUnavailable
from kodosumi.events import new_fid
from kodosumi.store.sqlite import SqliteExecutionStore
from kodosumi.store.sqlite import connection as connection_module
from tests.unit.store.histories import FINISHED, OWNER, STARTING, batch, begun, ended, fids, payloads, text
from tests.unit.store.layout import database, rows


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """Leaves no room at all."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@pytest.mark.fault
async def test_a_full_disk_is_told_and_nothing_is_lost_once_there_is_room(small_disk: Path) -> None:
    store = SqliteExecutionStore(small_disk / "execution")
    try:
        fid = await begun(store)
        await store.check()
        filler = fill(small_disk)

        stored, offset = 1, 1
        with pytest.raises(StoreUnavailable, match="no space is left"):
            while True:
                await store.append(fid, OWNER, [batch(offset + 1, text("x" * 50_000))])
                stored, offset = stored + 1, offset + 1
        with pytest.raises(StoreUnavailable, match="no space is left"):
            await store.check()
        with pytest.raises(StoreUnavailable, match="no space is left"):
            await begun(store)
        # what is stored is read all the same
        assert len(await payloads(store, fid)) >= stored
        assert await fids(store) == [fid]

        filler.unlink()
        await store.check()
        for again in range(2, offset + 3):
            await store.append(fid, OWNER, [batch(again, text("x" * 50_000))])
        await store.append(fid, OWNER, [batch(offset + 3, FINISHED)])
        assert [one.seq for one in await store.events(fid)] == list(range(1, offset + 4))
        other = await ended(store)
        assert await fids(store) == [other, fid] and await store.live() == []
    finally:
        await store.close()


@pytest.mark.fault
async def test_a_store_opened_on_a_full_disk_says_so_and_works_once_there_is_room(small_disk: Path) -> None:
    filler = fill(small_disk)
    store = SqliteExecutionStore(small_disk / "execution")
    try:
        for attempt in (begun(store), store.check(), store.executions()):
            with pytest.raises(StoreUnavailable, match="no space is left"):
                await attempt
        filler.unlink()
        fid = await ended(store)
        assert await fids(store) == [fid]
    finally:
        await store.close()


async def test_a_file_that_another_process_holds_locked_is_told(
    sqlite: SqliteExecutionStore, exec_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "BUSY_TIMEOUT_S", 0.05)
    fid = await begun(sqlite)
    with contextlib.closing(sqlite3.connect(database(exec_dir, OWNER, fid), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await sqlite.append(fid, OWNER, [batch(2, text("a"))])
        assert await payloads(sqlite, fid) == ["starting"]
    await sqlite.append(fid, OWNER, [batch(2, text("a"))])
    assert await payloads(sqlite, fid) == ["starting", "a"]


async def test_a_writer_that_waits_does_not_hold_up_the_event_loop(
    sqlite: SqliteExecutionStore, exec_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "BUSY_TIMEOUT_S", 60.0)
    fid = await begun(sqlite)
    with contextlib.closing(sqlite3.connect(database(exec_dir, OWNER, fid), isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(sqlite.append(fid, OWNER, [batch(2, text("a"))]))
        other = await ended(sqlite)
        assert await payloads(sqlite, other) == ["starting", "finished"]
        assert not waiting.done()
        holder.execute("ROLLBACK")
    assert (await waiting).stored == 1


async def test_a_folder_removed_by_hand_under_an_open_store_takes_no_event_with_it_that_comes_later(
    sqlite: SqliteExecutionStore, exec_dir: Path
) -> None:
    fid = await begun(sqlite)
    shutil.rmtree(exec_dir)
    await sqlite.append(fid, OWNER, [batch(2, text("later"))])
    assert await payloads(sqlite, fid) == ["later"]
    await sqlite.close()
    assert rows(database(exec_dir, OWNER, fid), "SELECT message FROM monitor") == [("later",)]


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "execution").write_text("a file is in the way")
    store = SqliteExecutionStore(tmp_path / "execution")
    for attempt in (store.append(new_fid(), OWNER, [batch(1, STARTING)]), store.check()):
        with pytest.raises(StoreUnavailable, match="execution"):
            await attempt
    (tmp_path / "execution").unlink()
    await store.check()
    await store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
async def test_a_folder_that_may_not_be_written_is_told(exec_dir: Path) -> None:
    exec_dir.mkdir(mode=0o500)
    store = SqliteExecutionStore(exec_dir)
    with pytest.raises(StoreUnavailable):
        await store.check()
    await store.close()


async def test_a_closed_store_says_so(sqlite: SqliteExecutionStore) -> None:
    await begun(sqlite)
    await sqlite.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await sqlite.executions()


def test_every_reason_of_the_driver_has_an_answer_of_ours(tmp_path: Path) -> None:
    transient = ["FULL", "READONLY", "PERM", "BUSY", "LOCKED", "IOERR", "CANTOPEN", "PROTOCOL", "NOMEM"]
    for name in transient:
        error = sqlite3.OperationalError(name)
        error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{name}") | (3 << 8)
        with pytest.raises(StoreUnavailable), connection_module.translated(tmp_path / "x"):
            raise error
    for name in ("CORRUPT", "NOTADB"):
        error = sqlite3.DatabaseError(name)
        error.sqlite_errorcode = getattr(sqlite3, f"SQLITE_{name}")
        with pytest.raises(connection_module.DamagedFile), connection_module.translated(tmp_path / "x"):
            raise error
