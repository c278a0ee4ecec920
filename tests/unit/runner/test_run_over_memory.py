"""A run through a real transport, from user code to the consumer."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace

from kodosumi.events import Event, EventKind, ExecutionState, new_fid
from kodosumi.runner.run_events import attempt_event
from kodosumi.runner.spec import Attempt, AttemptEnd
from kodosumi.transport import EventConsumer
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.unit.runner.recorder import spec_of


async def flood(inputs, tracer):
    for number in range(inputs):
        await tracer.debug(str(number))
    return inputs


async def taken(consumer: EventConsumer) -> list[Event]:
    """The next events of the only execution there is."""
    events: list[Event] = []
    for delivery in await consumer.take(5_000, 10.0):
        for batch in delivery.batches:
            events += batch.events
        await consumer.ack({delivery.fid: delivery.batches[-1].position})
    return events


async def test_ten_thousand_events_reach_the_consumer_in_order(runner) -> None:
    transport = MemoryTransport(uuid.uuid4().hex)
    fid = new_fid()
    producer = transport.producer(fid, "tester")
    await producer.put([Event.now(EventKind.STATUS, ExecutionState.STARTING)])
    outcome = await runner.run(spec_of(fid, f"{__name__}:flood", 10_000), producer.ticket)
    assert outcome.state == "finished"
    consumer = transport.consumer()
    events: list[Event] = []
    while not (events and events[-1].ends_execution):
        events += await taken(consumer)
    await consumer.close()
    assert [event.payload for event in events if event.kind == "debug"] == [str(number) for number in range(10_000)]
    assert [event.payload for event in events if event.kind == "status"] == ["starting", "running", "finished"]


async def tells_without_end(tracer):
    while True:
        await tracer.debug(f"attempt {tracer.attempt}")
        await asyncio.sleep(0.001)


async def test_an_attempt_tells_nothing_once_the_next_one_has_begun(runner) -> None:
    transport = MemoryTransport(uuid.uuid4().hex)
    fid = new_fid()
    spec = replace(spec_of(fid, f"{__name__}:tells_without_end"), durable=True)
    running = asyncio.create_task(runner.run(spec, transport.producer(fid, "tester", 1).ticket))
    consumer = transport.consumer()
    events = await until(lambda: taken(consumer), lambda events: any(event.kind == "debug" for event in events))

    second = Attempt(number=2, reason="it was taken for lost")
    producer = transport.producer(fid, "tester", 2)
    await producer.put([attempt_event(second)])
    assert (await running).end == AttemptEnd.CLOSED
    # Nor does it ever begin, should it be asked to once more.
    assert (await runner.run(spec, transport.producer(fid, "tester", 1).ticket)).end == AttemptEnd.CLOSED
    await producer.put([Event.now(EventKind.STATUS, ExecutionState.FINISHED)])

    while not events[-1].ends_execution:
        events += await taken(consumer)
    await consumer.close()
    begun = [event.kind for event in events].index(EventKind.ATTEMPT)
    assert [event.payload for event in events[begun + 1 :]] == ["finished"]
