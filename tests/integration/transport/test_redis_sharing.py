"""Consumers share the executions of a Redis: who comes gets a share, who goes hands over, and nothing stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from kodosumi.events import Position, new_fid
from kodosumi.transport import EventConsumer, EventProducer, TransportStatus
from kodosumi.transport.redis import RedisTransport, lease
from kodosumi.transport.redis import producer as producing
from tests.conditions import until
from tests.servers.redis import RedisServer
from tests.transport_contract import END, OWNER, ack_all, line, lines, take_until, texts


@pytest.fixture
async def transport(redis_server: RedisServer) -> AsyncIterator[RedisTransport]:
    transport = RedisTransport(redis_server.url(), prefix=f"test:{uuid4().hex}:")
    yield transport
    await transport.close()


class Store:
    """What spoolers store, by execution, in the order of their commits: what is there already is dropped."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.positions: dict[str, Position] = {}
        self._spooling: dict[EventConsumer, asyncio.Task[None]] = {}

    def spool(self, consumer: EventConsumer) -> EventConsumer:
        """Has a consumer store what it takes, until it is closed."""
        self._spooling[consumer] = asyncio.create_task(self._spool(consumer))
        return consumer

    async def stop(self, consumer: EventConsumer) -> None:
        """Ends a spooler in order."""
        task = self._spooling.pop(consumer)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await consumer.close()

    async def stop_all(self) -> None:
        for consumer in list(self._spooling):
            await self.stop(consumer)

    async def _spool(self, consumer: EventConsumer) -> None:
        while True:
            taken = await consumer.take(1000, 10.0)
            for delivery in taken:
                for batch in delivery.batches:
                    if batch.position > self.positions.get(delivery.fid, Position(0, 0)):
                        self.positions[delivery.fid] = batch.position
                        self.texts.setdefault(delivery.fid, []).extend(event.payload for event in batch.events)
            await ack_all(consumer, taken)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = Store()
    yield store
    await store.stop_all()


async def start(transport: RedisTransport, count: int) -> list[EventProducer]:
    producers = [transport.producer(new_fid(), OWNER) for _ in range(count)]
    for producer in producers:
        await producer.put([line(0)])
    return producers


def shares(status: TransportStatus) -> list[int]:
    return sorted(reader.executions for reader in status.readers)


async def test_a_new_consumer_takes_its_share_of_what_runs(transport: RedisTransport, store: Store) -> None:
    producers = await start(transport, 30)
    store.spool(transport.consumer())
    await until(lambda: len(store.texts) == 30)

    store.spool(transport.consumer())
    await until(transport.status, lambda status: shares(status) == [15, 15])
    store.spool(transport.consumer())
    await until(transport.status, lambda status: len(status.readers) == 3 and shares(status)[-1] <= 11)

    for number in range(1, 20):
        await asyncio.gather(*(producer.put([line(number)]) for producer in producers))
    wanted = [str(number) for number in range(20)]
    await until(lambda: all(texts == wanted for texts in store.texts.values()))


async def test_executions_that_begin_are_shared(transport: RedisTransport, store: Store) -> None:
    for _ in range(3):
        store.spool(transport.consumer())
    await until(transport.status, lambda status: status.consumers == 3)

    await start(transport, 30)

    assert shares(await transport.status()) == [10, 10, 10]


async def test_a_consumer_that_ends_hands_over_in_order_while_events_come(
    transport: RedisTransport, store: Store
) -> None:
    spoolers = [store.spool(transport.consumer()) for _ in range(3)]
    await until(transport.status, lambda status: status.consumers == 3)
    producers = await start(transport, 12)

    for number in range(1, 60):
        await asyncio.gather(*(producer.put([line(number)]) for producer in producers))
        if number in (20, 40):
            await store.stop(spoolers.pop())
        if number == 30:
            spoolers.insert(0, store.spool(transport.consumer()))
    for producer in producers:
        await producer.put([END])

    wanted = [*(str(number) for number in range(60)), "finished"]
    await until(lambda: len(store.texts) == 12 and all(texts == wanted for texts in store.texts.values()))


async def test_what_nobody_reads_waits_for_the_first_consumer(transport: RedisTransport, store: Store) -> None:
    producers = await start(transport, 5)
    before = await transport.status()

    store.spool(transport.consumer())

    await until(lambda: set(store.texts) == {producer.fid for producer in producers})
    assert (before.waiting_events, before.consumers, before.readers) == (5, 0, ())


async def test_an_ended_execution_leaves_nothing_and_a_thousand_leave_no_key_that_stays(
    transport: RedisTransport, store: Store, redis_server: RedisServer
) -> None:
    prefix = transport._options["prefix"]
    spoolers = [store.spool(transport.consumer()) for _ in range(2)]

    async def run() -> None:
        fid = new_fid()
        await transport.producer(fid, OWNER, 1).put(lines(1, 3))
        await transport.producer(fid, OWNER, 2).put([line(4), END])

    for _ in range(20):
        await asyncio.gather(*(run() for _ in range(50)))
    await until(lambda: sum("finished" in texts for texts in store.texts.values()) == 1000)
    for spooler in spoolers:
        await store.stop(spooler)

    assert redis_server.keys(prefix, lasting=True) == []
    kept = redis_server.keys(prefix)
    assert sum("closed:" in key for key in kept) == 1000
    assert len([key for key in kept if "closed:" not in key]) <= 5


async def test_what_is_acknowledged_after_its_reader_has_left_leaves_nothing(
    transport: RedisTransport, redis_server: RedisServer
) -> None:
    consumer: Any = transport.consumer()
    producer = transport.producer(new_fid(), OWNER)
    await producer.put([line(1), END])
    (delivery,) = await take_until(consumer, 2)

    # As when a spooler ends while its last acknowledgement is still on its way.
    await consumer._lease.leave()
    await consumer._settler.settle([(producer.fid, delivery.batches[-1].position)])

    assert redis_server.keys(transport._options["prefix"], lasting=True) == []
    await consumer.close()


async def test_an_execution_that_goes_on_after_all_was_forgotten_leaves_no_key_that_stays(
    transport: RedisTransport, store: Store, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producing, "RECALL_S", 0.1)
    producer: Any = transport.producer(new_fid(), OWNER)
    producer._past = Position(1, 5)
    spooler = store.spool(transport.consumer())

    with pytest.raises(Exception, match="lost events"):
        await producer.put([line(1)])
    producer._past = Position(1, 5)
    monkeypatch.setattr("kodosumi.transport.redis.recall.verdict", lambda *_, **__: "kept")
    await producer.put([line(2)])
    await until(lambda: store.texts.get(producer.fid) == ["2"])
    await until(transport.status, lambda status: status.waiting_events == 0)
    await store.stop(spooler)

    lasting = redis_server.keys(transport._options["prefix"], lasting=True)
    assert not [key for key in lasting if key.endswith((f"{producer.fid}}}", producer.fid))]


async def test_a_thousand_live_executions_take_few_connections(
    transport: RedisTransport, store: Store, redis_server: RedisServer
) -> None:
    with redis_server.client() as client:
        before = client.info("clients")["connected_clients"]
        store.spool(transport.consumer())
        producers = [transport.producer(new_fid(), OWNER) for _ in range(1000)]

        await asyncio.gather(*(producer.put([line(1)]) for producer in producers))
        await until(lambda: len(store.texts) == 1000)

        assert client.info("clients")["connected_clients"] - before <= 25


async def test_a_producer_that_waits_is_seen(redis_server: RedisServer) -> None:
    transport = RedisTransport(redis_server.url(), prefix=f"test:{uuid4().hex}:", max_events=2)
    consumer = transport.consumer()
    producer = transport.producer(new_fid(), OWNER)
    await producer.put(lines(1, 2))
    taken = await take_until(consumer, 2)

    waiting = asyncio.create_task(producer.put([line(3)]))
    await until(transport.status, lambda status: status.waiting_producers == 1)
    await ack_all(consumer, taken)

    await waiting
    assert (await transport.status()).waiting_producers == 0
    await consumer.close()
    await transport.close()


async def test_a_long_wait_for_room_is_told_in_the_events(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producing, "NOTICE_S", 0.0)
    transport = RedisTransport(redis_server.url(), prefix=f"test:{uuid4().hex}:", max_events=2)
    consumer = transport.consumer()
    producer = transport.producer(new_fid(), OWNER)
    await producer.put(lines(1, 2))
    taken = await take_until(consumer, 2)

    waiting = asyncio.create_task(producer.put([line(3)]))
    await until(transport.status, lambda status: status.waiting_producers == 1)
    await ack_all(consumer, taken)
    await waiting

    told = texts(await take_until(consumer, 2))
    assert "not stored yet" in told[0] and told[1:] == ["3"]
    await consumer.close()
    await transport.close()


async def test_positions_grow_over_take_overs(transport: RedisTransport) -> None:
    producer = transport.producer(new_fid(), OWNER)
    positions = []
    for number in range(5):
        consumer = transport.consumer()
        await producer.put([line(number)])
        taken = await take_until(consumer, 1)
        positions += [batch.position for delivery in taken for batch in delivery.batches]
        await ack_all(consumer, taken)
        await consumer.close()

    assert all(first < second for first, second in pairwise(positions))
    assert len(positions) == 5


async def test_a_consumer_that_begins_anew_while_it_listens_goes_on_listening(
    redis_server: RedisServer, transport: RedisTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.0)
    producers = await start(transport, 1)
    consumer: Any = transport.consumer()
    taken = await take_until(consumer, 1)
    taking = asyncio.create_task(consumer.take(10, 30.0))
    await until(lambda: consumer._bell._listening is not None)

    with redis_server.client() as client:
        client.zrem(transport._names.consumers, consumer._share.id)
    await ack_all(consumer, taken)

    assert texts(await taking, producers[0].fid) == ["0"]
    await consumer.close()


async def test_a_consumer_that_is_closed_while_it_listens_returns_nothing(transport: RedisTransport) -> None:
    consumer: Any = transport.consumer()
    taking = asyncio.create_task(consumer.take(10, 30.0))
    await until(lambda: consumer._bell._listening is not None)

    await consumer.close()

    assert await taking == []
