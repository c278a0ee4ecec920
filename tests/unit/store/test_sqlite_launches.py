"""Where the store ``sqlite`` keeps launches: seen by no list, found after everything else was lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kodosumi.error import StoreError, StoreUnavailable
from kodosumi.events import new_fid
from kodosumi.store.sqlite import SqliteExecutionStore
from kodosumi.store.sqlite.launches import FOLDER
from tests.unit.store.histories import OWNER


async def test_a_launch_survives_the_store_and_the_loss_of_the_index(
    sqlite: SqliteExecutionStore, exec_dir: Path
) -> None:
    fid = new_fid()
    await sqlite.keep_launch(fid, OWNER, b"x")
    await sqlite.check()
    for path in exec_dir.glob("index.db*"):
        path.unlink()
    other = SqliteExecutionStore(exec_dir)
    assert await other.launch(fid) == b"x" and await other.executions() == []
    await other.close()


async def test_what_a_killed_process_left_half_written_goes_with_the_lost(
    sqlite: SqliteExecutionStore, exec_dir: Path
) -> None:
    fid = new_fid()
    await sqlite.keep_launch(fid, OWNER, b"x")
    half = exec_dir / FOLDER / ".part-killed"
    half.write_bytes(b"half")
    os.utime(half, (100.0, 100.0))
    assert await sqlite.drop_lost_launches(200.0) == 0
    assert [path.name for path in (exec_dir / FOLDER).iterdir()] == [fid]


async def test_an_id_that_leads_elsewhere_is_refused(sqlite: SqliteExecutionStore, tmp_path: Path) -> None:
    for fid in ("../outside", "", ".hidden", "a/b"):
        with pytest.raises(StoreError):
            await sqlite.keep_launch(fid, OWNER, b"x")
    assert list(tmp_path.rglob("outside")) == []


async def test_a_folder_that_cannot_be_made_is_said(sqlite: SqliteExecutionStore, exec_dir: Path) -> None:
    exec_dir.write_text("a file in its place")
    with pytest.raises(StoreUnavailable):
        await sqlite.keep_launch(new_fid(), OWNER, b"x")
