"""Kill -9 of a queue's process: what was stored is never called lost, what was lost is never silent."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
import ray

from kodosumi.error import AttemptOver, TransportLost, TransportUnavailable
from kodosumi.events import encode_events, new_fid
from kodosumi.transport import EventProducer, Transport, transport_from
from kodosumi.transport.ending import put_end
from tests.conditions import until
from tests.transport_contract import OWNER, MakeTransport, ack_all, line, lines, take_until, texts

pytestmark = pytest.mark.fault


async def kill_queue(transport: Transport) -> None:
    """Kills the process of the transport's only queue; Ray restarts it."""
    namespace = transport._options["namespace"]  # type: ignore[attr-defined]
    actor = ray.get_actor("queue-0", namespace=namespace)
    pid = await actor.__ray_call__.remote(lambda _: os.getpid())
    os.kill(pid, signal.SIGKILL)
    await until(transport.status, deadline_s=60)


async def put_one(transport: Transport, text: str) -> EventProducer:
    producer = transport.producer(new_fid(), OWNER)
    await producer.put([line(text)])
    return producer


async def test_nothing_is_called_lost_when_all_was_committed(make: MakeTransport) -> None:
    transport = await make()
    consumer = transport.consumer()
    producer = await put_one(transport, "1")
    await ack_all(consumer, await take_until(consumer, 1))
    taking = asyncio.create_task(take_until(consumer, 1))

    await kill_queue(transport)
    await producer.put([line(2)])

    assert texts(await taking) == ["2"]


async def test_a_producer_is_told_of_what_was_lost_and_can_go_on(make: MakeTransport) -> None:
    transport = await make()
    producer = await put_one(transport, "lost")
    ticket = producer.ticket

    await kill_queue(transport)

    with pytest.raises(TransportLost):
        await producer.put([line(2)])
    with pytest.raises(TransportLost):
        await transport_from(ticket).producer_from(ticket).put([line(3)])
    await producer.put([line(4)])
    assert texts(await take_until(transport.consumer(), 1)) == ["4"]


async def test_what_a_consumer_holds_is_not_lost(make: MakeTransport) -> None:
    transport = await make()
    consumer = transport.consumer()
    producer = await put_one(transport, "1")
    taken = await take_until(consumer, 1)
    taking = asyncio.create_task(take_until(consumer, 1))

    await kill_queue(transport)
    putting = asyncio.create_task(producer.put([line(2)]))
    await ack_all(consumer, taken)

    await putting
    newer = await taking
    assert texts(newer) == ["2"]
    assert newer[0].batches[0].position > taken[0].batches[0].position


async def test_what_a_consumer_held_is_lost_when_it_dies_too(make: MakeTransport) -> None:
    transport = await make()
    consumer = transport.consumer()
    producer = await put_one(transport, "1")
    await take_until(consumer, 1)

    await kill_queue(transport)
    await consumer.take(1, 0.0)
    await consumer.close()

    with pytest.raises(TransportLost):
        await producer.put([line(2)])


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "lost"])
async def test_an_earlier_attempt_stays_shut_out_after_the_death_of_the_queue(
    make: MakeTransport, stored: bool
) -> None:
    transport = await make()
    fid = new_fid()
    first, second = transport.producer(fid, OWNER, 1), transport.producer(fid, OWNER, 2)
    consumer = transport.consumer()
    await first.put([line(1)])
    await second.put([line(2)])
    taken = await take_until(consumer, 2)
    if stored:
        await ack_all(consumer, taken)

    await kill_queue(transport)
    await consumer.take(1, 0.0)
    if not stored:
        await consumer.close()

    with pytest.raises(AttemptOver):
        await first.put([line("late")])
    assert not await put_end(first, "lost")
    if stored:
        await second.put([line(3)])
        assert texts(await take_until(consumer, 1)) == ["3"]
    else:
        assert await put_end(second, "lost")


async def test_a_batch_that_was_committed_but_never_answered_for_is_not_taken_again(make: MakeTransport) -> None:
    transport = await make()
    consumer = transport.consumer()
    producer = await put_one(transport, "1")
    await ack_all(consumer, await take_until(consumer, 1))
    taking = asyncio.create_task(consumer.take(10, 60.0))

    await kill_queue(transport)
    # As if the answer had been lost with the queue: a first put knows of nothing before it.
    producer._seq -= 1  # type: ignore[attr-defined]
    producer._past = None  # type: ignore[attr-defined]
    await producer._deliver(True, 1, False, encode_events([line(1)]))  # type: ignore[attr-defined]
    other = await put_one(transport, "other")

    assert [delivery.fid for delivery in await taking] == [other.fid]


async def test_a_feed_says_once_that_it_may_have_missed_something(make: MakeTransport) -> None:
    transport = await make()
    consumer, feed = transport.consumer(), transport.commits()
    producer = await put_one(transport, "1")
    await ack_all(consumer, await take_until(consumer, 1))
    assert await feed.wait() == {producer.fid}

    await kill_queue(transport)
    with pytest.raises(TransportUnavailable):
        await feed.wait()

    other = await put_one(transport, "2")
    await ack_all(consumer, await take_until(consumer, 1))
    async with asyncio.timeout(30):
        assert other.fid in await feed.wait()
    await feed.close()


async def test_a_burst_over_the_death_of_the_queue_arrives_without_gap_up_to_the_loss(make: MakeTransport) -> None:
    transport = await make()
    producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
    stored: list[str] = []

    async def store() -> None:
        while not stored or stored[-1] != "end":
            try:
                taken = await consumer.take(1000, 5.0)
                await ack_all(consumer, taken)
            except TransportUnavailable:
                continue
            stored.extend(texts(taken))

    storing = asyncio.create_task(store())
    lost = False
    for number in range(200):
        if number == 100:
            killing = asyncio.create_task(kill_queue(transport))
        try:
            await producer.put(lines(number * 10, number * 10 + 9))
        except TransportLost:
            lost = True
            break
    await killing
    await producer.put([line("end")])
    async with asyncio.timeout(60):
        await storing

    kept = stored[:-1]
    assert kept == [str(number) for number in range(len(kept))]
    assert len(kept) == 2000 or lost
