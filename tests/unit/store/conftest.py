"""SQLite stores to test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kodosumi.store.sqlite import SqliteExecutionStore


@pytest.fixture
def exec_dir(tmp_path: Path) -> Path:
    """Where the tests of the SQLite store keep executions; made by the first write."""
    return tmp_path / "execution"


@pytest.fixture
async def sqlite(exec_dir: Path) -> AsyncIterator[SqliteExecutionStore]:
    """An empty SQLite store."""
    store = SqliteExecutionStore(exec_dir)
    yield store
    await store.close()
