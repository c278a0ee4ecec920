"""A run through a real transport, from user code to the consumer."""

from __future__ import annotations

import uuid

from kodosumi.events import Event, EventKind, ExecutionState, new_fid
from kodosumi.transport.memory import MemoryTransport
from tests.unit.runner.recorder import spec_of


async def flood(inputs, tracer):
    for number in range(inputs):
        await tracer.debug(str(number))
    return inputs


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
        for delivery in await consumer.take(5_000, 10.0):
            for batch in delivery.batches:
                events += batch.events
            await consumer.ack({fid: delivery.batches[-1].position})
    await consumer.close()
    assert [event.payload for event in events if event.kind == "debug"] == [str(number) for number in range(10_000)]
    assert [event.payload for event in events if event.kind == "status"] == ["starting", "running", "finished"]
