"""Notices on the store ``sqlite`` are as durable as the events: the files have them, the index may be lost."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from kodosumi.error import StoreUnavailable
from kodosumi.events import EventKind, new_fid
from kodosumi.store.sqlite import SqliteExecutionStore
from kodosumi.store.sqlite.index import Index
from kodosumi.store.sqlite.names import INDEX
from tests.unit.store.histories import FINISHED, OWNER, STARTING, batch, begun, ended, event, text

LOCK = event(EventKind.LOCK, '{"dict": {"lid": "a"}}')


@pytest.fixture
async def noting(exec_dir: Path) -> AsyncIterator[SqliteExecutionStore]:
    store = SqliteExecutionStore(exec_dir, notices=True)
    yield store
    await store.close()


@pytest.fixture
def deaf_index(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What is committed to a file doesn't reach the index; undo it to end that."""

    def fail(*_: object, **__: object) -> None:
        raise StoreUnavailable("killed here")

    monkeypatch.setattr(Index, "put", fail)
    return monkeypatch


async def noted(store: SqliteExecutionStore) -> list[tuple[int, str]]:
    return sorted((notice.seq, notice.kind.value) for notice in await store.notices(100, 60))


@pytest.mark.parametrize("end", [True, False])
async def test_a_process_that_dies_before_it_tells_the_index_leaves_its_notices(
    exec_dir: Path, noting: SqliteExecutionStore, deaf_index: pytest.MonkeyPatch, end: bool
) -> None:
    with pytest.raises(StoreUnavailable):
        await begun(noting, LOCK, *([FINISHED] if end else []))
    await noting.close()
    deaf_index.undo()

    next_one = SqliteExecutionStore(exec_dir)
    assert await noted(next_one) == [(2, "lock"), (3, "finished")][: 1 + end]
    await next_one.close()


async def test_an_append_tried_again_tells_the_index_of_the_notice(
    noting: SqliteExecutionStore, deaf_index: pytest.MonkeyPatch
) -> None:
    fid, first = new_fid(), batch(1, STARTING, LOCK)
    with pytest.raises(StoreUnavailable):
        await noting.append(fid, OWNER, [first])
    deaf_index.undo()
    await noting.append(fid, OWNER, [first])
    assert await noted(noting) == [(2, "lock")]


async def test_a_lost_index_is_made_anew_with_what_waits_and_without_what_was_settled(
    exec_dir: Path, noting: SqliteExecutionStore
) -> None:
    fid = await ended(noting, LOCK)
    settled = next(notice for notice in await noting.notices(10, 60) if notice.kind == "lock")
    await noting.settle_notice(settled)
    await noting.close()
    for path in exec_dir.glob(f"{INDEX}*"):
        path.unlink()

    store = SqliteExecutionStore(exec_dir)
    (notice,) = await store.notices(10, 60)
    assert (notice.id, notice.tries) == (f"{fid}-3", 1)
    await store.settle_notice(notice)
    await store.close()


async def test_an_index_of_an_earlier_version_gets_the_table_and_keeps_its_rows(
    exec_dir: Path, noting: SqliteExecutionStore
) -> None:
    earlier = SqliteExecutionStore(exec_dir)
    fid = await begun(earlier, text("x"))
    await earlier.close()
    with closing(sqlite3.connect(exec_dir / INDEX)) as connection:
        connection.execute("DROP TABLE notice")
        connection.commit()
    inode = (exec_dir / INDEX).stat().st_ino

    await noting.append(fid, OWNER, [batch(2, LOCK)])
    assert await noted(noting) == [(3, "lock")]
    assert (exec_dir / INDEX).stat().st_ino == inode


async def test_a_file_gets_the_table_with_its_first_notice_only(exec_dir: Path, noting: SqliteExecutionStore) -> None:
    fid = await begun(noting, text("x"))
    assert "notice" not in tables(exec_dir / OWNER / fid / "sqlite3.db")
    await noting.append(fid, OWNER, [batch(2, LOCK)])
    assert "notice" in tables(exec_dir / OWNER / fid / "sqlite3.db")


async def test_settling_a_notice_of_a_removed_execution_makes_no_folder(
    exec_dir: Path, noting: SqliteExecutionStore
) -> None:
    fid = await ended(noting)
    (notice,) = await noting.notices(10, 60)
    await noting.purge(fid)
    await noting.settle_notice(notice)
    await noting.settle_notice(notice._replace(fid=new_fid()))
    assert list((exec_dir / OWNER).iterdir()) == []


async def test_a_notice_of_a_damaged_file_can_be_settled(exec_dir: Path, noting: SqliteExecutionStore) -> None:
    fid = await begun(noting, LOCK)
    await noting.close()
    for path in (exec_dir / OWNER / fid).iterdir():
        path.write_bytes(b"no database " * 999)

    store = SqliteExecutionStore(exec_dir)
    (notice,) = await store.notices(10, 60)
    await store.settle_notice(notice)
    assert await store.waiting_notices() == 0
    await store.close()


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
