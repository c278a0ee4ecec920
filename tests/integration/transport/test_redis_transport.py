"""The contract on the transport ``redis``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from kodosumi.transport.redis import RedisTransport, lease
from tests.servers.redis import RedisServer
from tests.transport_contract import MakeTransport, TransportContract


@pytest.fixture
async def make(redis_server: RedisServer) -> AsyncIterator[MakeTransport]:
    made = []

    async def make(**bounds: int) -> RedisTransport:
        made.append(RedisTransport(redis_server.url(), prefix=f"test:{uuid4().hex}:", **bounds))
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


class TestRedisTransport(TransportContract):
    @pytest.fixture
    def lease(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease, "LEASE_S", 3.0)
