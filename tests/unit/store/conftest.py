"""Stores to test: each member of the family in turn, and SQLite alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kodosumi.store import STORES, ExecutionStore
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.unit.store.members import FACTORIES


@pytest.fixture(params=sorted(STORES))
def make_store(request: pytest.FixtureRequest) -> Callable[[Path], ExecutionStore]:
    """Makes a store of each member in turn."""
    if request.param not in FACTORIES:
        pytest.fail(f"the store {request.param!r} is not in the contract suite: give it a factory in members.py")
    return FACTORIES[request.param]


@pytest.fixture
async def store(make_store: Callable[[Path], ExecutionStore], tmp_path: Path) -> AsyncIterator[ExecutionStore]:
    """An empty store of each member in turn."""
    store = make_store(tmp_path)
    yield store
    await store.close()


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
