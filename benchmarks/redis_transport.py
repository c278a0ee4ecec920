"""Speed of the Redis transport between processes: a burst, a paced run, and a thousand live runs on two consumers.

Run: ``python -m benchmarks.redis_transport [--events N] [--seconds N] [--executions N] [--url URL]``; without a URL it
starts a server of its own. Goals on two cores: a burst of 40,000 events/s (put, taken, acknowledged); at 50 events/s
put → taken p50 at most 3 ms; 1,000 executions with an event a second each on two consumers: lag p99 at most 100 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import uuid4

from kodosumi.events import Event, EventKind, new_fid
from kodosumi.transport import Delivery, EventConsumer
from kodosumi.transport.redis import RedisTransport

BATCH = 100
SPAWN = multiprocessing.get_context("spawn")


def event(text: object) -> Event:
    return Event.now(EventKind.STDOUT, str(text))


async def burst_out(transport: RedisTransport, count: int) -> None:
    """Puts so many events as fast as it can."""
    producer = transport.producer(new_fid(), "bench")
    events = [event(f"line {number} of a run that prints a lot") for number in range(BATCH)]
    for _ in range(count // BATCH):
        await producer.put(events)


async def paced_out(transport: RedisTransport, executions: int, per_s: float, seconds: float) -> None:
    """Puts events that say when they were made, evenly spread over the executions and the time."""
    producers = [transport.producer(new_fid(), "bench") for _ in range(executions)]
    loop = asyncio.get_running_loop()
    began = loop.time()
    count = int(executions * per_s * seconds)
    putting: set[asyncio.Task[None]] = set()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / (executions * per_s) - loop.time()))
        task = asyncio.create_task(producers[number % executions].put([event(time.time())]))
        putting.add(task)
        task.add_done_callback(putting.discard)
    if putting:
        await asyncio.wait(putting)


async def consume(consumer: EventConsumer, count: int, until: float, note: Callable[[Delivery], None]) -> float:
    """Takes and acknowledges so many events, or until a time; returns the seconds of CPU it took."""
    cpu = time.process_time()
    seen = 0
    acking: set[asyncio.Task[None]] = set()
    while seen < count and time.time() < until:
        deliveries = await consumer.take(1000, 1.0)
        for delivery in deliveries:
            seen += sum(len(batch.events) for batch in delivery.batches)
            note(delivery)
        positions = {delivery.fid: delivery.batches[-1].position for delivery in deliveries}
        if positions:
            task = asyncio.create_task(consumer.ack(positions))
            acking.add(task)
            task.add_done_callback(acking.discard)
    await asyncio.gather(*acking)
    await consumer.close()
    return time.process_time() - cpu


def in_process(work: Callable[..., Any], *args: Any) -> Any:
    """Starts a child; its answer comes through the queue that it's given."""
    answers = SPAWN.Queue()
    child = SPAWN.Process(target=_child, args=(answers, work, args), daemon=True)
    child.start()
    return child, answers


def _child(answers: Any, work: Callable[..., Any], args: Sequence[Any]) -> None:
    answers.put(asyncio.run(work(*args)))


async def burst_child(options: dict[str, Any], count: int) -> float:
    transport = RedisTransport(**options)
    await transport.status()
    began = time.time()
    await burst_out(transport, count)
    await transport.close()
    return began


async def paced_child(options: dict[str, Any], executions: int, per_s: float, seconds: float) -> float:
    transport = RedisTransport(**options)
    cpu = time.process_time()
    await paced_out(transport, executions, per_s, seconds)
    await transport.close()
    return time.process_time() - cpu


async def lag_child(options: dict[str, Any], until: float) -> tuple[list[float], float]:
    transport = RedisTransport(**options)
    lags: list[float] = []

    def note(delivery: Delivery) -> None:
        now = time.time()
        lags.extend((now - float(one.payload)) * 1000 for batch in delivery.batches for one in batch.events)

    cpu = await consume(transport.consumer(), 1 << 60, until, note)
    await transport.close()
    return lags, cpu


async def burst(options: dict[str, Any], count: int) -> None:
    transport = RedisTransport(**options)
    await transport.status()
    child, answers = in_process(burst_child, options, count)
    await consume(transport.consumer(), count, time.time() + 120, lambda _: None)
    took = time.time() - answers.get()
    child.join()
    await transport.close()
    print(f"burst: {count / took:,.0f} events/s in batches of {BATCH}")


def paced(options: dict[str, Any], executions: int, per_s: float, seconds: float, consumers: int) -> None:
    until = time.time() + seconds + 6
    readers = [in_process(lag_child, options, until) for _ in range(consumers)]
    time.sleep(3)
    child, answers = in_process(paced_child, options, executions, per_s, seconds)
    spent = answers.get()
    found = [answer.get() for _, answer in readers]
    for process, _ in [*readers, (child, answers)]:
        process.join()
    lags = sorted(lag for some, _ in found for lag in some)
    quantiles = statistics.quantiles(lags, n=100)
    shares = " + ".join(f"{len(some):,}" for some, _ in found)
    cpu = " + ".join(f"{used:.1f}" for _, used in found)
    print(
        f"{executions:,} executions, {per_s:g} events/s each, {consumers} consumers: {len(lags):,} events ({shares}), "
        f"put → taken p50 {statistics.median(lags):.2f} ms, p99 {quantiles[98]:.2f} ms, most {lags[-1]:.1f} ms; "
        f"CPU of {seconds:g} s: producers {spent:.1f} s, consumers {cpu} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--executions", type=int, default=1000)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    server = None
    if arguments.url is None:
        from tests.servers.redis import RedisServer

        server = RedisServer()
        server.start()
    options = {"url": arguments.url or server.url(), "prefix": f"bench:{uuid4().hex}:"}
    try:
        asyncio.run(burst(options, arguments.events))
        paced(options, 1, 50, arguments.seconds, 1)
        paced(options, arguments.executions, 1, arguments.seconds, 2)
    finally:
        if server is not None:
            server.remove()


if __name__ == "__main__":
    main()
