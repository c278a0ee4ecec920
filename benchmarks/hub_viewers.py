"""What live streams cost: the CPU of idle viewers, and the way of many events to one viewer.

    python benchmarks/hub_viewers.py [--viewers 50] [--seconds 12] [--events 10000]

The hub and the event streams run in this process behind a real server, over the in-memory store and transport; the
viewers are plain sockets in a child process, so that their own cost is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import time
from multiprocessing.connection import Connection

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from kodosumi.events import Event, EventKind, new_fid
from kodosumi.service.hub import Hub
from kodosumi.service.metering import Meters
from kodosumi.service.sse import EventStream
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.transport.memory import MemoryTransport

BATCH = 100


class Stack:
    """A store, a transport with its spooler, a hub and a server, all in this process."""

    def __init__(self) -> None:
        self.store = MemoryExecutionStore()
        self.transport = MemoryTransport()
        self.hub = Hub(self.store, self.transport, sent=Meters().sent_on)
        self.port = 0

    async def __aenter__(self) -> Stack:
        await self.hub.start()
        app = Starlette(routes=[Route("/{fid}", self._stream)])
        config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_level="error")
        self._server = uvicorn.Server(config)
        self._tasks = [asyncio.create_task(self._server._serve()), asyncio.create_task(self._spool())]
        while not self._server.started:
            await asyncio.sleep(0.01)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hub.close()
        self._server.should_exit = True
        self._tasks[1].cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stream(self, request: Request) -> EventStream:
        return EventStream(self.hub.stream(request.path_params["fid"], converted=True))

    async def _spool(self) -> None:
        consumer = self.transport.consumer()
        while True:
            for delivery in await consumer.take(1_000, 10.0):
                await self.store.append(delivery.fid, delivery.username, delivery.batches)
                await consumer.ack({delivery.fid: delivery.batches[-1].position})


async def _read(port: int, fid: str) -> tuple[int, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /{fid} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    events = 0
    tail = b""
    while chunk := await reader.read(1 << 20):
        events += (tail + chunk).count(b"\nid: ")
        tail = chunk[-4:]
        if b"event: eof" in chunk:
            break
    writer.close()
    return events, time.time()


def _viewers(port: int, fid: str, count: int, pipe: Connection) -> None:
    async def read_all() -> list[tuple[int, float]]:
        return await asyncio.gather(*(_read(port, fid) for _ in range(count)))

    pipe.send(asyncio.run(read_all()))


async def _begun(stack: Stack, viewers: int):  # type: ignore[no-untyped-def]
    fid = new_fid()
    producer = stack.transport.producer(fid, "bench")
    await producer.put([Event.now(EventKind.STATUS, "running")])
    while not await _stored(stack, fid):
        await asyncio.sleep(0.01)
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_viewers, args=(stack.port, fid, viewers, theirs))
    child.start()
    while stack.hub.viewers < viewers:
        await asyncio.sleep(0.01)
    return producer, ours, child


async def _stored(stack: Stack, fid: str) -> bool:
    return any(execution.fid == fid for execution in await stack.store.live())


async def _ended(producer, pipe: Connection, child) -> list[tuple[int, float]]:  # type: ignore[no-untyped-def]
    await producer.put([Event.now(EventKind.STATUS, "finished")])
    seen: list[tuple[int, float]] = await asyncio.to_thread(pipe.recv)
    child.join()
    return seen


async def idle(viewers: int, seconds: float) -> dict[str, float]:
    """Percent of one core that idle viewers cost this process."""
    async with Stack() as stack:
        producer, pipe, child = await _begun(stack, viewers)
        await asyncio.sleep(2)
        cpu, clock = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        percent = 100 * (time.process_time() - cpu) / (time.monotonic() - clock)
        await _ended(producer, pipe, child)
    return {"idle_viewers": viewers, "percent_of_a_core": round(percent, 2)}


async def burst(events: int) -> dict[str, float]:
    """Events per second from the first put to the viewer's last byte."""
    async with Stack() as stack:
        producer, pipe, child = await _begun(stack, 1)
        begun = time.time()
        for start in range(0, events, BATCH):
            await producer.put([Event.now(EventKind.STDOUT, f"line {start + number}") for number in range(BATCH)])
        [(seen, ended)] = await _ended(producer, pipe, child)
    assert seen == events + 2, seen
    return {"events": events, "events_per_second": round(events / (ended - begun))}


async def paced(events: int = 250, rate: float = 50.0) -> dict[str, float]:
    """Milliseconds from the put of an event to its bytes at a viewer in this process."""
    async with Stack() as stack:
        fid = new_fid()
        producer = stack.transport.producer(fid, "bench")
        await producer.put([Event.now(EventKind.STATUS, "running")])
        while not await _stored(stack, fid):
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(f"GET /{fid} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"running\r\n\r\n")
        delays = []
        for number in range(events):
            begun = time.perf_counter()
            await producer.put([Event.now(EventKind.STDOUT, f"line {number}")])
            await reader.readuntil(f":line {number}\r\n\r\n".encode())
            delays.append(time.perf_counter() - begun)
            await asyncio.sleep(1 / rate)
        writer.close()
    return {"paced_per_second": rate, "p50_ms": round(sorted(delays)[events // 2] * 1_000, 2)}


def main() -> None:
    """Prints one JSON object a measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--viewers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--events", type=int, default=10_000)
    options = parser.parse_args()
    for measurement in (idle(options.viewers, options.seconds), burst(options.events), paced()):
        print(json.dumps(asyncio.run(measurement)), flush=True)


if __name__ == "__main__":
    main()
