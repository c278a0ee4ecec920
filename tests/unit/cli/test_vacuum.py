"""`koco vacuum`: removes what was deleted and what was abandoned, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kodosumi.config import Settings, load_settings
from kodosumi.error import ConfigurationError, ExecutionNotFound
from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from kodosumi.files import connect_files
from kodosumi.start.vacuum import Removed, age_of, sweep
from kodosumi.store import connect_store
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.file_store_contract import paths, put


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(exec_dir=tmp_path / "execution", upload_dir=tmp_path / "uploads")


async def finished(settings: Settings, *, archived: bool) -> str:
    """The id of a stored execution that is over."""
    store, fid = connect_store(settings), new_fid()
    await store.append(fid, "alice", [Batch(Position(1, 1), [Event.now(EventKind.STATUS, "finished")])])
    if archived:
        await store.archive(fid)
    await store.close()
    return fid


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 604_800), ("7d", 604_800), ("1.5h", 5_400), ("30m", 1_800), ("0", 0), ("90S", 90)]
)
def test_an_age_has_a_unit_or_means_days(text: str, seconds: float) -> None:
    assert age_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1d", "7 weeks", "d"])
def test_what_is_no_age_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="older-than"):
        age_of(text)


async def test_only_deleted_executions_are_removed(settings: Settings) -> None:
    deleted = await finished(settings, archived=True)
    kept = await finished(settings, archived=False)

    assert await sweep(settings, -1, dry_run=True) == Removed(1, 0)
    assert await sweep(settings, -1) == Removed(1, 0)

    store = connect_store(settings)
    assert (await store.execution(kept)).fid == kept
    with pytest.raises(ExecutionNotFound):
        await store.execution(deleted)
    await store.close()


async def test_files_go_with_deleted_executions_and_others_stay(settings: Settings) -> None:
    deleted, kept = await finished(settings, archived=True), await finished(settings, archived=False)
    files = connect_files(settings)
    for fid in (deleted, kept):
        await put(files, f"alice/{fid}/in/a")

    assert await sweep(settings, -1, dry_run=True) == Removed(1, 0)
    assert await paths(files, f"alice/{deleted}/in") == ["a"]
    assert await sweep(settings, -1) == Removed(1, 0)
    assert await paths(files, f"alice/{kept}/in") == ["a"]
    assert not (settings.exec_dir / "alice" / deleted).exists()
    await files.close()


async def test_what_ends_between_files_and_rows_is_gone_on_with_by_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted, files = await finished(settings, archived=True), connect_files(settings)
    await put(files, f"alice/{deleted}/in/a")

    async def dies(_store: object, _fid: str) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as crash:
        crash.setattr(SqliteExecutionStore, "purge", dies)
        with pytest.raises(ZeroDivisionError):
            await sweep(settings, -1)
    assert await files.list(f"alice/{deleted}/in") == []
    assert await sweep(settings, -1) == Removed(1, 0)
    assert not (settings.exec_dir / "alice" / deleted).exists()
    await files.close()


async def test_what_was_deleted_recently_stays(settings: Settings) -> None:
    await finished(settings, archived=True)

    assert await sweep(settings, age_of("1d")) == Removed(0, 0)


async def test_an_upload_is_abandoned_when_nothing_in_it_was_touched(settings: Settings) -> None:
    settings.upload_max_age = 86_400
    long_ago = time.time() - 2 * 86_400
    for name, file_at in (("role/abandoned", long_ago), ("role/going on", time.time()), ("of an earlier version", 1.0)):
        folder = settings.upload_dir / name
        folder.mkdir(parents=True)
        for chunk, at in (("info.json", long_ago), ("1", file_at)):
            (folder / chunk).write_bytes(b"x")
            os.utime(folder / chunk, (min(at, file_at), min(at, file_at)))

    assert await sweep(settings, age_of("7d"), dry_run=True) == Removed(0, 2)
    assert await sweep(settings, age_of("7d")) == Removed(0, 2)
    assert [folder.name for folder in (settings.upload_dir / "role").iterdir()] == ["going on"]


async def test_an_upload_that_goes_on_stays_however_young_a_deleted_execution_may_be(settings: Settings) -> None:
    (settings.upload_dir / "role/upload").mkdir(parents=True)
    (settings.upload_dir / "role/upload/1").write_bytes(b"x")

    assert await sweep(settings, 0) == Removed(0, 0)
    assert (settings.upload_dir / "role/upload/1").exists()
