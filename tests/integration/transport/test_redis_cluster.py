"""The contract on a Redis Cluster of three nodes, where an execution's keys and those of the consumers lie apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from kodosumi.events import new_fid
from kodosumi.transport.redis import RedisTransport, lease
from tests.servers.redis import RedisServer, redis_cluster
from tests.transport_contract import OWNER, WAIT_S, MakeTransport, TransportContract, ack_all, line, take_until


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[RedisServer]]:
    with redis_cluster(3) as nodes:
        yield nodes


class TestRedisClusterTransport(TransportContract):
    @pytest.fixture
    async def make(self, nodes: list[RedisServer]) -> AsyncIterator[MakeTransport]:
        made = []

        async def make(**bounds: int) -> RedisTransport:
            url = f"redis+cluster://127.0.0.1:{nodes[0].port}"
            made.append(RedisTransport(url, prefix=f"test:{uuid4().hex}:", **bounds))
            return made[-1]

        yield make
        for transport in made:
            await transport.close()

    @pytest.fixture
    def lease(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lease, "LEASE_S", 3.0)

    async def test_producers_wait_at_the_transports_bound_and_all_go_on(self, make: MakeTransport) -> None:
        # No script sees the keys of several executions here: the bytes are bound in each.
        transport = await make(max_bytes=1000)
        consumer = transport.consumer()
        fid = new_fid()
        producers = [transport.producer(fid, OWNER) for _ in range(5)]
        await transport.producer(fid, OWNER).put([line("x" * 2000)])
        await transport.producer(new_fid(), OWNER).put([line("another execution")])

        waiting = [asyncio.create_task(producer.put([line("y" * 600)])) for producer in producers]
        acknowledged = 0
        async with asyncio.timeout(2 * WAIT_S):
            while acknowledged < 7:
                taken = await take_until(consumer, 1)
                assert (await transport.status()).waiting_events <= 4
                await ack_all(consumer, taken)
                acknowledged += sum(len(batch.events) for delivery in taken for batch in delivery.batches)
            await asyncio.gather(*waiting)
