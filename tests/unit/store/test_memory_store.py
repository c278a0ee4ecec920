"""The contract on the store ``memory``."""

from __future__ import annotations

import pytest

from kodosumi.store.memory import MemoryExecutionStore
from tests.store_contract import MakeStore, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def make(self) -> MakeStore:
        return MemoryExecutionStore
