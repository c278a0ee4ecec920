"""A folder of executions, and the central database that it's imported into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.config import Settings
from kodosumi.store import ExecutionStore, connect_store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where executions lie."""
    made = tmp_path / "execution"
    made.mkdir()
    return made


@pytest.fixture
def settings(postgres_url: str, tmp_path: Path) -> Settings:
    """Those of a user who moves to the central database."""
    return Settings(execution_database=postgres_url, exec_dir=tmp_path / "elsewhere", _env_file=None)


@pytest.fixture
async def store(settings: Settings) -> AsyncIterator[ExecutionStore]:
    """The central database as panels read it."""
    store = connect_store(settings)
    yield store
    await store.close()
