"""What is left of an execution that goes for good: nothing, wherever it and its files were kept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.events import Batch, Event, EventKind, Position, new_fid
from kodosumi.files import FileStore, connect_files
from kodosumi.retention import DAY_S, Retention
from kodosumi.start.vacuum import Removed, sweep
from kodosumi.store import ExecutionStore, connect_store
from tests.file_store_contract import paths, put
from tests.unit.store.histories import OWNER, fids


@pytest.fixture(params=["sqlite+local", "sqlite+s3", "postgresql+local", "postgresql+s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    database, files = request.param.split("+")
    return Settings(
        exec_dir=tmp_path / "execution",
        upload_dir=tmp_path / "uploads",
        retention_days=30,
        execution_database=request.getfixturevalue("postgres_url") if database == "postgresql" else None,
        file_store=request.getfixturevalue("s3_url") if files == "s3" else None,
    )


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[ExecutionStore]:
    made = connect_store(settings)
    yield made
    await made.close()


@pytest.fixture
async def files(settings: Settings) -> AsyncIterator[FileStore]:
    made = connect_files(settings)
    yield made
    await made.close()


async def ended(store: ExecutionStore, files: FileStore, days_ago: float = 0.0) -> str:
    """An execution that is over, with files."""
    fid, at = new_fid(), time.time() - days_ago * DAY_S
    events = [Event(EventKind.STATUS, at, "starting"), Event(EventKind.STATUS, at, "finished")]
    await store.append(fid, OWNER, [Batch(Position(1, 1), events)])
    for path in ("in/a", "in/deep/er/b", "out/c"):
        await put(files, f"{OWNER}/{fid}/{path}")
    return fid


async def only(settings: Settings, store: ExecutionStore, files: FileStore, kept: str) -> None:
    """Asserts that nothing is left but one execution."""
    assert await fids(store) == [kept]
    assert await paths(files, f"{OWNER}/{kept}/in") == ["a", "deep/er/b"]
    assert {path.split("/")[1] for path in await paths(files, "") if "/" in path} == {kept}
    folder = settings.exec_dir / OWNER
    assert not folder.exists() or [path.name for path in folder.iterdir()] == [kept]


async def test_vacuum_leaves_nothing_of_a_deleted_execution(
    settings: Settings, store: ExecutionStore, files: FileStore
) -> None:
    gone, kept = await ended(store, files), await ended(store, files)
    await store.archive(gone)
    assert await sweep(settings, -60) == Removed(1, 0)
    await only(settings, store, files, kept)


async def test_retention_leaves_nothing_of_an_old_execution(
    settings: Settings, store: ExecutionStore, files: FileStore
) -> None:
    for _ in range(3):
        await ended(store, files, days_ago=31)
    kept = await ended(store, files)
    retention = Retention.from_settings(settings, store)
    await retention._round()
    await only(settings, store, files, kept)
    await retention._files.close()
    await retention._uploads.close()
