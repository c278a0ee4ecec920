"""The contract on the transport ``redis``, with the servers of the public images."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from kodosumi.transport.redis import RedisTransport, lease
from tests.servers.containers import redis_container
from tests.transport_contract import MakeTransport, TransportContract


@pytest.fixture(scope="module", params=["redis:8", "valkey/valkey:8"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server in a container."""
    with redis_container(request.param) as url:
        yield url


class TestRedisTransportInAContainer(TransportContract):
    @pytest.fixture
    async def make(self, url: str) -> AsyncIterator[MakeTransport]:
        made = []

        async def make(**bounds: int) -> RedisTransport:
            made.append(RedisTransport(url, prefix=f"test:{uuid4().hex}:", **bounds))
            return made[-1]

        yield make
        for transport in made:
            await transport.close()

    @pytest.fixture
    def lease(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease, "LEASE_S", 1.0)
