"""Removing SQLite executions by age: one process at a time, and what an interrupted removal left."""

from __future__ import annotations

from pathlib import Path

from kodosumi.store.sqlite import SqliteExecutionStore
from kodosumi.store.sqlite.names import folder_of
from tests.unit.store.histories import OWNER, ended, fids


async def test_who_comes_while_another_store_removes_executions_removes_none(
    sqlite: SqliteExecutionStore, exec_dir: Path
) -> None:
    fid, other = await ended(sqlite), SqliteExecutionStore(exec_dir)
    with sqlite._keeper.removing() as alone:
        assert alone
        assert await other.expire(1e12, 10) == 0
    assert await fids(sqlite) == [fid]
    assert await other.expire(1e12, 10) == 1
    assert not folder_of(exec_dir, OWNER, fid).exists()
    await other.close()


async def test_a_folder_that_an_interrupted_removal_left_goes_with_the_next(
    sqlite: SqliteExecutionStore, exec_dir: Path
) -> None:
    fid = await ended(sqlite)
    index = sqlite._keeper.index(create=False)
    assert index is not None
    index.mark_purged(fid)
    assert folder_of(exec_dir, OWNER, fid).exists()
    assert await sqlite.expire(0.0, 10) == 0
    assert not folder_of(exec_dir, OWNER, fid).exists()


async def test_nothing_is_made_where_there_is_nothing_to_expire(sqlite: SqliteExecutionStore, exec_dir: Path) -> None:
    assert await sqlite.expire(1e12, 10) == 0
    assert not exec_dir.exists()
