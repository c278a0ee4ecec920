"""Ended executions are counted in the index, also in one that an earlier version has made, or that is made anew."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from kodosumi.events import ExecutionState
from kodosumi.store.sqlite import SqliteExecutionStore
from kodosumi.store.sqlite.names import INDEX
from tests.unit.store.histories import FAILED, OWNER, batch, begun, ended

COUNTED = {ExecutionState.FINISHED: 2, ExecutionState.ERROR: 1}


async def test_an_index_of_an_earlier_version_counts_once_what_has_ended(tmp_path: Path) -> None:
    earlier = SqliteExecutionStore(tmp_path)
    await ended(earlier)
    await ended(earlier)
    fid = await begun(earlier)
    await earlier.close()
    with closing(sqlite3.connect(tmp_path / INDEX)) as connection:
        for statement in ("TRIGGER execution_came_ended", "TRIGGER execution_ended", "TABLE ended"):
            connection.execute(f"DROP {statement}")
        connection.commit()
    inode = (tmp_path / INDEX).stat().st_ino

    for _ in range(2):
        store = SqliteExecutionStore(tmp_path)
        await store.append(fid, OWNER, [batch(2, FAILED)])
        assert await store.tally() == ({}, COUNTED)
        await store.close()
    assert (tmp_path / INDEX).stat().st_ino == inode


async def test_an_index_that_is_made_anew_counts_what_is_there(tmp_path: Path) -> None:
    store = SqliteExecutionStore(tmp_path)
    await ended(store)
    await ended(store)
    await begun(store, FAILED)
    await store.close()
    for path in tmp_path.glob(f"{INDEX}*"):
        path.unlink()

    store = SqliteExecutionStore(tmp_path)
    assert await store.tally() == ({}, COUNTED)
    await store.close()
