"""The contract on the transport ``memory``."""

from __future__ import annotations

from uuid import uuid4

import pytest

from kodosumi.transport import Transport, queue
from kodosumi.transport.memory import MemoryTransport
from tests.transport_contract import MakeTransport, TransportContract


class TestMemoryTransport(TransportContract):
    @pytest.fixture
    def make(self) -> MakeTransport:
        async def make(**bounds: int) -> Transport:
            return MemoryTransport(name=uuid4().hex, **bounds)

        return make

    @pytest.fixture
    def lease(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(queue, "LEASE_S", 1.0)
