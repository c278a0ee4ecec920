"""What every transport must keep: one suite, run on each member of ``TRANSPORTS`` by a subclass with its fixtures."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from kodosumi.error import AttemptOver, ExecutionClosed, TransportUnavailable
from kodosumi.events import Event, EventKind, ExecutionState, new_fid
from kodosumi.transport import Delivery, EventConsumer, Transport, transport_from
from kodosumi.transport.ending import put_end
from tests.conditions import until

OWNER = "0d4e9c6e-0000-4000-8000-000000000001"
WAIT_S = 30.0
MakeTransport = Callable[..., Awaitable[Transport]]


def line(text: object) -> Event:
    """A stdout event."""
    return Event.now(EventKind.STDOUT, str(text))


def lines(first: int, last: int) -> list[Event]:
    """Events with these numbers as texts, both ends included."""
    return [line(number) for number in range(first, last + 1)]


END = Event.now(EventKind.STATUS, ExecutionState.FINISHED)


def texts(deliveries: Sequence[Delivery], fid: str | None = None) -> list[str]:
    """Payloads in order of delivery, of one execution only when given."""
    return [
        event.payload
        for delivery in deliveries
        if fid in (None, delivery.fid)
        for batch in delivery.batches
        for event in batch.events
    ]


async def take_until(consumer: EventConsumer, count: int, max_events: int = 1000) -> list[Delivery]:
    """Deliveries with at least so many events."""
    taken: list[Delivery] = []
    async with asyncio.timeout(60):
        while len(texts(taken)) < count:
            taken += await consumer.take(max_events, WAIT_S)
    return taken


async def ack_all(consumer: EventConsumer, deliveries: Sequence[Delivery]) -> None:
    """Acknowledges everything delivered."""
    await consumer.ack({delivery.fid: delivery.batches[-1].position for delivery in deliveries})


class TransportContract:
    """Subclasses give a fixture ``make``: an async function that returns a transport with storage of its own.

    Arguments: ``max_events``, ``max_bytes``.
    """

    async def test_events_arrive_in_their_producers_order(self, make: MakeTransport) -> None:
        transport = await make()
        fid = new_fid()
        producer, consumer = transport.producer(fid, OWNER), transport.consumer()

        for number in range(50):
            await producer.put(lines(number * 10, number * 10 + 9))
        taken = await take_until(consumer, 500, max_events=70)

        assert texts(taken) == [str(number) for number in range(500)]
        assert {delivery.username for delivery in taken} == {OWNER}
        positions = [batch.position for delivery in taken for batch in delivery.batches]
        assert positions == sorted(set(positions))

    async def test_a_take_without_events_returns_nothing_after_its_time(self, make: MakeTransport) -> None:
        consumer = (await make()).consumer()

        assert await consumer.take(10, 0.0) == []
        assert await consumer.take(10, 0.1) == []

    async def test_a_waiting_take_is_woken_by_a_put(self, make: MakeTransport) -> None:
        transport = await make()
        consumer = transport.consumer()

        waiting = asyncio.create_task(consumer.take(10, 30.0))
        await transport.producer(new_fid(), OWNER).put([line("now")])

        async with asyncio.timeout(WAIT_S):
            assert texts(await waiting) == ["now"]

    async def test_a_cancelled_take_loses_nothing(self, make: MakeTransport) -> None:
        transport = await make()
        consumer = transport.consumer()
        waiting = asyncio.create_task(consumer.take(10, 30.0))
        await until(transport.status, lambda status: status.consumers == 1)

        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await transport.producer(new_fid(), OWNER).put([line("kept")])

        assert texts(await take_until(consumer, 1)) == ["kept"]

    async def test_nothing_is_put_for_an_empty_sequence(self, make: MakeTransport) -> None:
        transport = await make()

        await transport.producer(new_fid(), OWNER).put([])

        assert (await transport.status()).waiting_events == 0

    async def test_a_batch_larger_than_asked_for_is_given_alone(self, make: MakeTransport) -> None:
        transport = await make(max_events=20)
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()

        await producer.put(lines(1, 100))

        [delivery] = await consumer.take(10, WAIT_S)
        assert len(delivery.batches) == 1
        assert texts([delivery]) == [str(number) for number in range(1, 101)]

    async def test_a_batch_of_many_megabytes_arrives_whole(self, make: MakeTransport) -> None:
        transport = await make()
        consumer = transport.consumer()
        text = "äöü " * 2_000_000

        await transport.producer(new_fid(), OWNER).put([line(text)])

        assert texts(await take_until(consumer, 1)) == [text]

    async def test_no_more_is_given_than_asked_for(self, make: MakeTransport) -> None:
        transport = await make()
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        for number in range(20):
            await producer.put(lines(number, number + 2))

        assert len(texts(await consumer.take(10, WAIT_S))) <= 10

    async def test_a_busy_execution_does_not_hold_up_the_others(self, make: MakeTransport) -> None:
        transport = await make()
        consumer = transport.consumer()
        busy = transport.producer(new_fid(), OWNER)
        for number in range(200):
            await busy.put([line(number)])
        quiet = [transport.producer(new_fid(), OWNER) for _ in range(5)]
        for producer in quiet:
            await producer.put([line("quiet")])

        taken = await consumer.take(50, WAIT_S)

        assert {producer.fid for producer in quiet} <= {delivery.fid for delivery in taken}

    async def test_what_was_taken_is_not_given_twice(self, make: MakeTransport) -> None:
        transport = await make()
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        await producer.put(lines(1, 3))

        assert texts(await consumer.take(10, WAIT_S)) == ["1", "2", "3"]
        assert await consumer.take(10, 0.0) == []

    async def test_what_a_closed_consumer_held_is_given_again_in_order_before_newer(self, make: MakeTransport) -> None:
        transport = await make()
        producer = transport.producer(new_fid(), OWNER)
        first, second = transport.consumer(), transport.consumer()
        await producer.put(lines(1, 2))
        await producer.put(lines(3, 4))
        await producer.put(lines(5, 6))
        taken = await take_until(first, 6)
        await first.ack({producer.fid: taken[0].batches[0].position})
        await producer.put(lines(7, 8))

        await first.close()

        assert texts(await take_until(second, 6)) == ["3", "4", "5", "6", "7", "8"]

    async def test_what_a_silent_consumer_held_is_given_to_another_after_the_lease(
        self, make: MakeTransport, lease: None
    ) -> None:
        transport = await make()
        producer = transport.producer(new_fid(), OWNER)
        silent, other = transport.consumer(), transport.consumer()
        await producer.put(lines(1, 2))
        assert texts(await take_until(silent, 2)) == ["1", "2"]
        await producer.put(lines(3, 4))

        assert await other.take(10, 0.0) == []
        assert texts(await take_until(other, 4)) == ["1", "2", "3", "4"]

    async def test_what_was_released_is_given_again_in_order(self, make: MakeTransport) -> None:
        transport = await make()
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        await producer.put([line(1)])
        await producer.put([line(2)])
        assert texts(await take_until(consumer, 2)) == ["1", "2"]
        await producer.put([line(3)])

        await consumer.release(producer.fid)

        assert texts(await take_until(consumer, 3)) == ["1", "2", "3"]

    async def test_two_consumers_never_read_one_execution_at_once(self, make: MakeTransport) -> None:
        transport = await make()
        producers = [transport.producer(new_fid(), OWNER) for _ in range(6)]
        first, second = transport.consumer(), transport.consumer()
        for number in range(3):
            for producer in producers:
                await producer.put([line(number)])
        given: dict[EventConsumer, list[Delivery]] = {first: [], second: []}
        while sum(len(texts(taken)) for taken in given.values()) < 18:
            for consumer, taken in given.items():
                taken += await consumer.take(5, 0.05)

        readers = {consumer: {delivery.fid for delivery in taken} for consumer, taken in given.items()}
        assert readers[first] and readers[second]
        assert not readers[first] & readers[second]
        for producer in producers:
            assert texts([*given[first], *given[second]], producer.fid) == ["0", "1", "2"]

    async def test_what_was_acknowledged_is_never_given_again(self, make: MakeTransport) -> None:
        transport = await make()
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        await producer.put(lines(1, 3))
        taken = await take_until(consumer, 3)

        await ack_all(consumer, taken)
        await ack_all(consumer, taken)
        await consumer.ack({new_fid(): taken[0].batches[0].position})
        await consumer.close()

        assert (await transport.status()).waiting_events == 0
        assert await transport.consumer().take(10, 0.0) == []

    async def test_a_producer_waits_at_its_executions_bound_and_goes_on_after_the_commit(
        self, make: MakeTransport
    ) -> None:
        transport = await make(max_events=10)
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        await producer.put(lines(1, 8))

        waiting = asyncio.create_task(producer.put(lines(9, 12)))
        other = transport.producer(new_fid(), OWNER)
        await other.put(lines(1, 8))
        assert not waiting.done()
        taken = await take_until(consumer, 16)
        assert not waiting.done()
        await ack_all(consumer, taken)

        async with asyncio.timeout(WAIT_S):
            await waiting
        assert texts(await take_until(consumer, 4)) == ["9", "10", "11", "12"]

    async def test_producers_wait_at_the_transports_bound_and_all_go_on(self, make: MakeTransport) -> None:
        transport = await make(max_bytes=1000)
        consumer = transport.consumer()
        producers = [transport.producer(new_fid(), OWNER) for _ in range(5)]
        await transport.producer(new_fid(), OWNER).put([line("x" * 2000)])

        waiting = [asyncio.create_task(producer.put([line("y" * 600)])) for producer in producers]
        acknowledged = 0
        async with asyncio.timeout(60):
            while acknowledged < 6:
                taken = await consumer.take(100, WAIT_S)
                assert (await transport.status()).waiting_events <= 3
                await ack_all(consumer, taken)
                acknowledged += len(texts(taken))
            await asyncio.gather(*waiting)

    async def test_a_producer_that_gives_up_waiting_leaves_nothing_behind(self, make: MakeTransport) -> None:
        transport = await make(max_events=2)
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        await producer.put(lines(1, 2))
        waiting = asyncio.create_task(producer.put([line("never")]))
        # Something behind it on the same way, so that it has arrived.
        await transport.producer(new_fid(), OWNER).put([line("other")])

        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        taken = await take_until(consumer, 3)
        await ack_all(consumer, taken)
        await producer.put([line(3)])

        assert texts(await take_until(consumer, 1)) == ["3"]

    async def test_the_same_batch_put_twice_is_taken_once(self, make: MakeTransport) -> None:
        transport = await make()
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        for events in (lines(1, 2), [line(3), END]):
            await producer.put(events)
            await self.put_again(producer, events)

        taken = await take_until(consumer, 4)
        await ack_all(consumer, taken)
        await self.put_again(producer, [line(3), END])

        assert texts(taken) == ["1", "2", "3", "finished"]
        assert (await transport.status()).waiting_events == 0

    async def put_again(self, producer: object, events: Sequence[Event]) -> None:
        """Puts as a producer does that got no answer to its last put."""
        producer._seq -= 1  # type: ignore[attr-defined]
        await producer.put(events)  # type: ignore[attr-defined]

    async def test_nothing_follows_the_terminal_event(self, make: MakeTransport) -> None:
        transport = await make()
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        await producer.put([line(1), END])

        with pytest.raises(ExecutionClosed) as caught:
            await producer.put([line(2)])
        await ack_all(consumer, await take_until(consumer, 2))
        with pytest.raises(ExecutionClosed):
            await transport.producer(producer.fid, OWNER).put([line(3)])

        assert caught.value.fid == producer.fid
        assert await consumer.take(10, 0.0) == []

    async def test_a_put_that_waits_is_refused_when_the_execution_ends(self, make: MakeTransport) -> None:
        transport = await make(max_events=2)
        fid = new_fid()
        consumer = transport.consumer()
        await transport.producer(fid, OWNER).put(lines(1, 2))
        ending = asyncio.create_task(transport.producer(fid, OWNER).put([END]))
        await until(transport.status, lambda status: status.waiting_producers == 1)
        late = asyncio.create_task(transport.producer(fid, OWNER).put([line("late")]))
        await until(transport.status, lambda status: status.waiting_producers == 2)

        await ack_all(consumer, await take_until(consumer, 2))

        async with asyncio.timeout(WAIT_S):
            await ending
            with pytest.raises(ExecutionClosed):
                await late

    async def test_nothing_of_an_attempt_is_taken_after_a_later_one(self, make: MakeTransport) -> None:
        transport = await make()
        fid = new_fid()
        first, second = transport.producer(fid, OWNER, 1), transport.producer(fid, OWNER, 2)
        consumer = transport.consumer()
        await first.put([line(1)])
        await second.put([line(2)])

        with pytest.raises(AttemptOver) as caught:
            await first.put([line("late")])
        await second.put([line(3)])
        await ack_all(consumer, taken := await take_until(consumer, 3))
        with pytest.raises(AttemptOver):
            await first.put([line("later")])
        with pytest.raises(AttemptOver):
            await transport.producer(fid, OWNER, 1).put([line("another's")])

        assert caught.value.fid == fid
        assert texts(taken) == ["1", "2", "3"]
        assert (await transport.status()).waiting_events == 0

    async def test_a_later_attempt_goes_on_in_order_after_the_death_of_the_one_before(
        self, make: MakeTransport
    ) -> None:
        transport = await make()
        fid = new_fid()
        first, consumer = transport.producer(fid, OWNER, 1), transport.consumer()
        await first.put([line(1)])
        taken = await take_until(consumer, 1)
        await first.put([line(2)])

        await transport.producer(fid, OWNER, 2).put([line(3)])
        third = transport.producer(fid, OWNER, 3)
        await third.put([line(4)])
        # Several processes may speak for one attempt.
        await transport.producer(fid, OWNER, 3).put([line(5)])
        await third.put([line(6), END])
        taken += await take_until(consumer, 6)
        await ack_all(consumer, taken)

        assert texts(taken) == ["1", "2", "3", "4", "5", "6", "finished"]
        assert (await transport.status()).waiting_events == 0

    async def test_a_put_that_waits_is_refused_when_a_later_attempt_comes(self, make: MakeTransport) -> None:
        transport = await make(max_events=2)
        fid = new_fid()
        consumer, first = transport.consumer(), transport.producer(fid, OWNER, 1)
        await first.put(lines(1, 2))
        late = asyncio.create_task(first.put([line("late")]))
        await until(transport.status, lambda status: status.waiting_producers == 1)
        other = asyncio.create_task(transport.producer(fid, OWNER).put([line(3)]))
        await until(transport.status, lambda status: status.waiting_producers == 2)

        second = asyncio.create_task(transport.producer(fid, OWNER, 2).put([line(4)]))

        async with asyncio.timeout(WAIT_S):
            with pytest.raises(AttemptOver):
                await late
        await until(transport.status, lambda status: status.waiting_producers == 2)
        assert not other.done() and not second.done()
        await ack_all(consumer, await take_until(consumer, 2))
        async with asyncio.timeout(WAIT_S):
            await asyncio.gather(other, second)
        assert texts(await take_until(consumer, 2)) == ["3", "4"]
        await until(transport.status, lambda status: status.waiting_producers == 0)

    async def test_a_ticket_of_an_earlier_attempt_is_refused_elsewhere_too(self, make: MakeTransport) -> None:
        transport = await make()
        fid = new_fid()
        first, second = transport.producer(fid, OWNER, 1), transport.producer(fid, OWNER, 2)
        await first.put([line(1)])
        remote = transport_from(first.ticket).producer_from(first.ticket)
        await remote.put([line(2)])

        await second.put([line(3)])

        assert (first.ticket.attempt, remote.ticket.attempt, second.ticket.attempt) == (1, 1, 2)
        for ticket in (first.ticket, remote.ticket):
            with pytest.raises(AttemptOver):
                await transport_from(ticket).producer_from(ticket).put([line("late")])
        await transport_from(second.ticket).producer_from(second.ticket).put([line(4)])
        assert texts(await take_until(transport.consumer(), 4)) == ["1", "2", "3", "4"]

    async def test_whoever_speaks_for_no_attempt_is_never_refused_and_ends_none(self, make: MakeTransport) -> None:
        transport = await make()
        fid = new_fid()
        nobodys, first, second = (transport.producer(fid, OWNER, attempt) for attempt in (None, 1, 2))

        for number, producer in enumerate((nobodys, first, nobodys, first, second, nobodys, second), 1):
            await producer.put([line(number)])
        with pytest.raises(AttemptOver):
            await first.put([line("late")])
        await transport_from(nobodys.ticket).producer_from(nobodys.ticket).put([line(8)])

        assert nobodys.ticket.attempt is None
        assert texts(await take_until(transport.consumer(), 8)) == [str(number) for number in range(1, 9)]

    async def test_an_end_by_whoever_speaks_for_no_attempt_closes_all_of_them(self, make: MakeTransport) -> None:
        transport = await make()
        fid = new_fid()
        consumer = transport.consumer()
        await transport.producer(fid, OWNER, 2).put([line(1)])

        assert await put_end(transport.producer(fid, OWNER), "lost")

        for attempt in (None, 1, 2, 3):
            with pytest.raises(ExecutionClosed):
                await transport.producer(fid, OWNER, attempt).put([line("late")])
        await ack_all(consumer, await take_until(consumer, 3))
        with pytest.raises(ExecutionClosed):
            await transport.producer(fid, OWNER, 3).put([line("later")])

    async def test_an_earlier_attempt_cannot_end_the_execution(self, make: MakeTransport) -> None:
        transport = await make()
        fid = new_fid()
        first, second = transport.producer(fid, OWNER, 1), transport.producer(fid, OWNER, 2)
        await first.put([line(1)])
        await second.put([line(2)])

        assert not await put_end(first, "lost")
        with pytest.raises(AttemptOver):
            await first.put([END])

        await second.put([line(3), END])
        assert texts(await take_until(transport.consumer(), 4)) == ["1", "2", "3", "finished"]

    async def test_a_put_that_was_taken_stays_taken_though_a_later_attempt_came(self, make: MakeTransport) -> None:
        transport = await make()
        fid = new_fid()
        first, second = transport.producer(fid, OWNER, 1), transport.producer(fid, OWNER, 2)
        await first.put([line(1)])
        await second.put([line(2)])

        await self.put_again(first, [line(1)])

        with pytest.raises(AttemptOver):
            await first.put([line("late")])
        assert texts(await take_until(transport.consumer(), 2)) == ["1", "2"]

    async def test_a_ticket_goes_on_where_its_producer_was(self, make: MakeTransport) -> None:
        transport = await make()
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        await producer.put([line(1)])

        ticket = producer.ticket
        other = transport_from(ticket).producer_from(ticket)
        await other.put([line(2)])
        await producer.put([line(3)])

        assert ticket.fid == producer.fid
        assert ticket.epoch is not None
        assert texts(await take_until(consumer, 3)) == ["1", "2", "3"]

    async def test_a_producer_serves_several_event_loops(self, make: MakeTransport) -> None:
        transport = await make()
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        await producer.put([line(1)])

        await asyncio.to_thread(lambda: asyncio.run(producer.put([line(2)])))  # type: ignore[arg-type]

        assert texts(await take_until(consumer, 2)) == ["1", "2"]

    async def test_a_feed_names_what_was_acknowledged_since_it_was_made(self, make: MakeTransport) -> None:
        transport = await make()
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        feed = transport.commits()
        await producer.put([line(1)])
        await ack_all(consumer, await take_until(consumer, 1))
        async with asyncio.timeout(WAIT_S):
            assert await feed.wait() == {producer.fid}

        waiting = asyncio.create_task(feed.wait())
        other = transport.producer(new_fid(), OWNER)
        await other.put([line(1)])
        taken = await take_until(consumer, 1)
        assert not waiting.done()
        await ack_all(consumer, taken)

        async with asyncio.timeout(WAIT_S):
            assert await waiting == {other.fid}
        await feed.close()

    async def test_a_closed_feed_ends_its_waiting_call(self, make: MakeTransport) -> None:
        feed = (await make()).commits()
        waiting = asyncio.create_task(feed.wait())
        await asyncio.sleep(0)

        await feed.close()
        await feed.close()

        with pytest.raises(TransportUnavailable):
            await waiting
        with pytest.raises(TransportUnavailable):
            await feed.wait()

    async def test_the_status_counts_what_waits_and_who_reads(self, make: MakeTransport) -> None:
        transport = await make()
        assert (await transport.status()).waiting_events == 0
        producer, consumer = transport.producer(new_fid(), OWNER), transport.consumer()
        await producer.put(lines(1, 3))
        taken = await take_until(consumer, 3)

        status = await transport.status()

        assert (status.waiting_events, status.consumers) == (3, 1)
        assert status.oldest_s >= 0.0
        (reader,) = status.readers
        assert (reader.executions, reader.lag_events, reader.last_commit_at) == (1, 3, None)
        assert str(os.getpid()) in reader.name
        began = time.time() - 1
        await consumer.ack({producer.fid: taken[-1].batches[-1].position})
        (reader,) = (await transport.status()).readers
        assert reader.lag_events == 0
        assert reader.last_commit_at is not None and reader.last_commit_at >= began
        await consumer.close()
        await consumer.close()
        assert (await transport.status()).consumers == 0
