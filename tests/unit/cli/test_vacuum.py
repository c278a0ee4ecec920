"""`koco vacuum`: removes what was deleted and what was abandoned, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from kodosumi.config import Settings, load_settings
from kodosumi.error import ConfigurationError, ExecutionNotFound
from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from kodosumi.start.vacuum import Removed, age_of, sweep
from kodosumi.store import connect_store


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


async def test_what_was_deleted_recently_stays(settings: Settings) -> None:
    await finished(settings, archived=True)

    assert await sweep(settings, age_of("1d")) == Removed(0, 0)


async def test_an_upload_is_abandoned_when_nothing_in_it_was_touched(settings: Settings) -> None:
    long_ago = time.time() - 10 * 86_400
    for name, file_at in (("abandoned", long_ago), ("going on", time.time())):
        folder = settings.upload_dir / name
        folder.mkdir(parents=True)
        (folder / "chunk").write_bytes(b"x")
        os.utime(folder / "chunk", (file_at, file_at))
        os.utime(folder, (long_ago, long_ago))

    assert await sweep(settings, age_of("7d"), dry_run=True) == Removed(0, 1)
    assert await sweep(settings, age_of("7d")) == Removed(0, 1)
    assert [folder.name for folder in settings.upload_dir.iterdir()] == ["going on"]
