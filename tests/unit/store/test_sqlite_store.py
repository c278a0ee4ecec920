"""The contract on the store ``sqlite``."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from kodosumi.store import ExecutionStore
from kodosumi.store.sqlite import SqliteExecutionStore
from tests.store_contract import MakeStore, StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> MakeStore:
        folders = count()

        def make(**options: bool) -> ExecutionStore:
            return SqliteExecutionStore(tmp_path / f"execution{next(folders)}", **options)

        return make
