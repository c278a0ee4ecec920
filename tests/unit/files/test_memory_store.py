"""The contract on the store in memory."""

from __future__ import annotations

import pytest

from kodosumi.files.memory import MemoryFileStore
from tests.file_store_contract import FileStoreContract, MakeFiles


class TestMemoryFileStore(FileStoreContract):
    @pytest.fixture
    def make(self) -> MakeFiles:
        return MemoryFileStore
