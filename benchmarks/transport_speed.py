"""Speed of the Ray transport between two processes: throughput in batches, and the way of a single event.

Run: ``python benchmarks/transport_speed.py [--events N] [--rounds N]``. Joins the Ray that runs here or starts one.
Goals on two cores: 50,000 events/s in batches of 100 (put, take, acknowledge); one event put → taken → acknowledged →
feed woken, p50 at most 4 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from uuid import uuid4

import ray

from kodosumi import cluster
from kodosumi.config import Settings
from kodosumi.events import Event, EventKind, new_fid
from kodosumi.transport import ProducerTicket, transport_from
from kodosumi.transport.ray import RayTransport

BATCH = 100


@ray.remote(num_cpus=0)
def produce(ticket: ProducerTicket, count: int) -> float:
    """Puts so many events as fast as it can; returns when it began."""

    async def put() -> float:
        producer = transport_from(ticket).producer_from(ticket)
        events = [Event.now(EventKind.STDOUT, f"line {number} of a run that prints a lot") for number in range(BATCH)]
        await producer.put(events[:1])
        began = time.time()
        for _ in range(count // BATCH):
            await producer.put(events)
        return began

    return asyncio.run(put())


async def throughput(transport: RayTransport, count: int) -> float:
    """Events per second from the first put in the one process to the last acknowledgement in the other."""
    consumer = transport.consumer()
    began = produce.remote(transport.producer(new_fid(), "bench").ticket, count)
    seen = 0
    acking: set[asyncio.Task[None]] = set()
    while seen < count + 1:
        for delivery in await consumer.take(2000, 30.0):
            seen += sum(len(batch.events) for batch in delivery.batches)
            acking.add(asyncio.create_task(consumer.ack({delivery.fid: delivery.batches[-1].position})))
    await asyncio.gather(*acking)
    ended = time.time()
    await consumer.close()
    return count / (ended - await began)


async def latency(transport: RayTransport, rounds: int) -> list[float]:
    """Milliseconds from put to the feed's wake-up, one event at a time."""
    producer, consumer, feed = transport.producer(new_fid(), "bench"), transport.consumer(), transport.commits()

    async def store() -> None:
        while True:
            for delivery in await consumer.take(100, 30.0):
                await consumer.ack({delivery.fid: delivery.batches[-1].position})

    storing = asyncio.create_task(store())
    waiting = asyncio.create_task(feed.wait())
    times = []
    for number in range(rounds + 20):
        began = time.perf_counter()
        await producer.put([Event.now(EventKind.STDOUT, str(number))])
        await waiting
        if number >= 20:
            times.append((time.perf_counter() - began) * 1000)
        waiting = asyncio.create_task(feed.wait())
    for task in (storing, waiting):
        task.cancel()
    await asyncio.gather(storing, waiting, return_exceptions=True)
    await consumer.close()
    await feed.close()
    return times


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=300)
    arguments = parser.parse_args()
    await cluster.attached(Settings(), start=True)
    transport = RayTransport(namespace=f"bench-{uuid4().hex}")
    await transport.status()
    await throughput(transport, 10_000)
    print(f"throughput: {await throughput(transport, arguments.events):,.0f} events/s in batches of {BATCH}")
    times = await latency(transport, arguments.rounds)
    quantiles = statistics.quantiles(times, n=100)
    print(f"latency put → feed: p50 {statistics.median(times):.2f} ms, p95 {quantiles[94]:.2f} ms")
    ray.kill(ray.get_actor("queue-0", namespace=transport._options["namespace"]))


if __name__ == "__main__":
    asyncio.run(main())
