"""The contract on the transport ``ray``, and what only it has: other processes, several queues."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
import ray

from kodosumi.events import new_fid
from kodosumi.transport import ProducerTicket, transport_from
from tests.conditions import until
from tests.transport_contract import OWNER, MakeTransport, TransportContract, ack_all, line, lines, take_until, texts


class TestRayTransport(TransportContract):
    @pytest.fixture
    def lease(self) -> None:
        """The real one."""


@ray.remote(num_cpus=0)
def put_in_a_task(ticket: ProducerTicket, first: int, last: int) -> ProducerTicket:
    async def put() -> ProducerTicket:
        producer = transport_from(ticket).producer_from(ticket)
        await producer.put(lines(first, last))
        return producer.ticket

    return asyncio.run(put())


@ray.remote(num_cpus=0)
class ConsumerProcess:
    """A consumer that can be killed."""

    def pid(self) -> int:
        return os.getpid()

    async def take(self, ticket: ProducerTicket) -> list[str]:
        self.consumer = transport_from(ticket).consumer()
        return texts(await self.consumer.take(100, 30.0))


async def test_a_ticket_works_in_a_task_of_another_process(make: MakeTransport) -> None:
    transport = await make()
    producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
    await producer.put(lines(1, 2))

    ticket = await put_in_a_task.remote(producer.ticket, 3, 4)
    await producer.put(lines(5, 6))

    assert ticket.epoch == producer.ticket.epoch
    assert texts(await take_until(consumer, 6)) == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.fault
async def test_what_a_killed_consumer_held_is_given_to_another(make: MakeTransport) -> None:
    transport = await make()
    producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
    await producer.put(lines(1, 3))
    victim = ConsumerProcess.remote()
    assert await victim.take.remote(producer.ticket) == ["1", "2", "3"]

    os.kill(await victim.pid.remote(), signal.SIGKILL)
    await producer.put([line(4)])

    assert texts(await take_until(consumer, 4)) == ["1", "2", "3", "4"]


async def test_several_queues_share_the_executions_and_the_first_process_decides_how_many(make: MakeTransport) -> None:
    transport = await make(queues=3)
    consumer, feed = transport.consumer(), transport.commits()
    producers = [transport.producer(new_fid(), OWNER) for _ in range(12)]
    await asyncio.gather(*(producer.put(lines(1, 5)) for producer in producers))

    options = {**producers[0].ticket.options, "queues": 2}
    second_opinion = transport_from(ProducerTicket("", "", "ray", options))
    await second_opinion.producer(producers[0].fid, OWNER).put([line(6)])
    taken = await take_until(consumer, 61, max_events=20)
    await ack_all(consumer, taken)

    assert texts(taken, producers[0].fid) == ["1", "2", "3", "4", "5", "6"]
    assert (await transport.status()).waiting_events == 0
    named = [actor["namespace"] for actor in ray.util.list_named_actors(all_namespaces=True)]
    assert named.count(options["namespace"]) == 3
    seen: set[str] = set()
    async with asyncio.timeout(30):
        while len(seen) < 12:
            seen |= await feed.wait()
    assert seen == {producer.fid for producer in producers}
    await feed.close()
    await consumer.close()
    await until(transport.status, lambda status: status.consumers == 0)
