"""One spooler and two, from Redis into PostgreSQL: how fast they store, and how far a thousand live runs lag.

Events wait one by one, as runs emit that don't print much. Each spooler is held to a quarter of a core, so that
spooling is what limits: unheld, one of them takes a whole core of two, Redis and the database most of the other, and
what a second one adds is what is left of the machine. That ratio is printed too.

Run: ``python -m benchmarks.spoolers [--events N] [--executions N] [--seconds N]``; starts servers of its own. Spoolers
are processes of their own, as ``koco spool`` makes them, but for the look after living runs, which needs a cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import signal
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.end_to_end import Figure
from kodosumi.config import Settings
from kodosumi.error import TransportUnavailable
from kodosumi.events import Event, EventKind, ExecutionState, new_fid
from kodosumi.execution.memory import MemoryMode
from kodosumi.spooler import Spooler
from kodosumi.transport import EventProducer, Transport, connect_transport
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer

RUNS = 20
RUN_S, REST_S = 0.01, 0.03
"""A spooler that is held to a quarter of a core runs so long, then rests so long."""

LINE = "a line of an ordinary length, as a print statement makes it, number {}"
SPAWN = multiprocessing.get_context("spawn")


class OthersRuns(MemoryMode):
    """A mode whose runs are all alive: they are made by the benchmark."""

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        return frozenset(fids)


class Plant(NamedTuple):
    """What spoolers work on.

    Attributes:
        settings: of all processes. server: of PostgreSQL. database: its name.
    """

    settings: dict[str, Any]
    server: PostgresServer
    database: str

    def transport(self) -> Transport:
        """This process's way to the streams."""
        return connect_transport(Settings(**self.settings))


@contextmanager
def plant(redis: RedisServer, server: PostgresServer) -> Iterator[Plant]:
    """An empty database, and keys of its own."""
    database = server.create_database()
    settings = {
        "event_transport": "redis",
        "redis_url": redis.url(),
        "redis_stream_prefix": f"bench:{uuid4().hex}:",
        "redis_max_stream_len": 1_000_000,
        "execution_database": server.url(database),
    }
    yield Plant(settings, server, database)
    server.drop_database(database)


@contextmanager
def spoolers(settings: dict[str, Any], count: int, go: Any) -> Iterator[list[int]]:
    """So many processes that begin to work at the word; their ids."""
    ready = SPAWN.Semaphore(0)
    children = [SPAWN.Process(target=_spool, args=(settings, ready, go)) for _ in range(count)]
    for child in children:
        child.start()
    for _ in children:
        ready.acquire()
    try:
        yield [child.pid for child in children if child.pid is not None]
    finally:
        for child in children:
            child.terminate()
            child.join()


def _spool(settings: dict[str, Any], ready: Any, go: Any) -> None:
    ready.release()
    go.wait()
    loaded = Settings(**settings)
    transport = connect_transport(loaded)
    asyncio.run(Spooler(loaded, transport=transport, mode=OthersRuns(transport)).run())


@contextmanager
def held(pids: list[int]) -> Iterator[None]:
    """Has each process run for a quarter of the time."""
    over = threading.Event()

    def hold(pid: int) -> None:
        while not over.wait(RUN_S):
            os.kill(pid, signal.SIGSTOP)
            over.wait(REST_S)
            os.kill(pid, signal.SIGCONT)

    threads = [threading.Thread(target=hold, args=(pid,)) for pid in pids]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def stored_per_s(redis: RedisServer, server: PostgresServer, spooling: int, events: int, *, hold: bool) -> float:
    """Events per second that so many spoolers store of 20 ended executions that wait in Redis.

    Counted from the first commit that is seen, so that how long a process takes to begin isn't in it.

    Args:
        hold: whether each spooler is held to a quarter of a core.
    """
    with plant(redis, server) as target:
        go = SPAWN.Event()
        with spoolers(target.settings, spooling, go) as pids:
            asyncio.run(_put_ended(target, events))
            go.set()
            with held(pids if hold else []):
                return _rate(target)


def _rate(target: Plant) -> float:
    while not (begun := _progress(target))[0]:
        time.sleep(0.02)
    while (now := _progress(target))[2] < RUNS:
        time.sleep(0.1)
    return (now[0] - begun[0]) / (now[1] - begun[1])


def _progress(target: Plant) -> tuple[int, float, int]:
    """Events stored, when the last of them was (seconds since the epoch), and executions that have ended."""
    query = "SELECT coalesce(sum(seq), 0), coalesce(max(modified_at), 0), count(finished_at) FROM executions"
    stored, at, ended = target.server.execute(query, target.database)[0]
    return int(stored), float(at), int(ended)


async def _put_ended(target: Plant, events: int) -> None:
    transport = target.transport()
    await asyncio.gather(*(_burst(transport.producer(new_fid(), "bench"), events) for _ in range(RUNS)))
    await transport.close()


async def _burst(producer: EventProducer, events: int) -> None:
    for number in range(events):
        await producer.put([_event(LINE.format(number))])
    await producer.put([Event.now(EventKind.STATUS, ExecutionState.FINISHED)])


def lags_ms(redis: RedisServer, server: PostgresServer, executions: int, seconds: float) -> list[float]:
    """Milliseconds from emitted to known as committed, of an event a second from each execution, on two spoolers."""
    with plant(redis, server) as target:
        go = SPAWN.Event()
        with spoolers(target.settings, 2, go):
            go.set()
            return asyncio.run(_paced(target, executions, seconds))


async def _paced(target: Plant, executions: int, seconds: float) -> list[float]:
    transport = target.transport()
    producers = {fid: transport.producer(fid, "bench") for fid in (new_fid() for _ in range(executions))}
    emitted: dict[str, deque[float]] = {fid: deque() for fid in producers}
    lags: list[float] = []
    following = asyncio.create_task(_follow(transport, emitted, lags))
    loop, putting = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    for number in range(2):  # all are stored before the clock counts: beginning a thousand at once is another question
        await asyncio.gather(*(producer.put([_event(number)]) for producer in producers.values()))
    while _progress(target)[0] < 2 * executions:
        await asyncio.sleep(0.1)
    began, fids = loop.time(), list(producers)
    for number in range(int(executions * seconds)):
        await asyncio.sleep(max(0.0, began + number / executions - loop.time()))
        fid = fids[number % executions]
        emitted[fid].append(loop.time())
        task = asyncio.create_task(producers[fid].put([_event(number)]))
        putting.add(task)
        task.add_done_callback(putting.discard)
    while any(emitted.values()):
        await asyncio.sleep(0.1)
    following.cancel()
    await transport.close()
    return lags


async def _follow(transport: Transport, emitted: dict[str, deque[float]], lags: list[float]) -> None:
    """What a panel does: one commit of an execution is one event of it here, as long as none lags a whole second."""
    feed = transport.commits()
    while True:
        try:
            committed = await feed.wait()
        except TransportUnavailable:
            continue
        now = asyncio.get_running_loop().time()
        lags += [(now - emitted[fid].popleft()) * 1000 for fid in committed if emitted[fid]]


def _event(text: object) -> Event:
    return Event.now(EventKind.STDOUT, str(text))


def measure(events: int = 5_000, executions: int = 1_000, seconds: float = 20.0) -> list[Figure]:
    """Both figures; the first is the median of three pairs.

    Args:
        events: of each execution that waits. executions, seconds: how many live, and for how long.
    """
    with RedisServer() as redis, PostgresServer() as server:
        pairs = [_pair(redis, server, events, hold=True) for _ in range(3)]
        _pair(redis, server, events, hold=False)
        lags = sorted(lags_ms(redis, server, executions, seconds))
    quantiles = statistics.quantiles(lags, n=100)
    print(f"lag p50 {statistics.median(lags):.1f} ms, p99 {quantiles[98]:.1f} ms, most {lags[-1]:.1f}", file=sys.stderr)
    return [
        Figure(
            "two spoolers store in PostgreSQL, times what one does",
            statistics.median(two / one for one, two in pairs),
            "times",
            1.5,
            True,
        ),
        Figure(f"{executions:,} live executions on two spoolers, lag p99", quantiles[98], "ms", 250),
    ]


def _pair(redis: RedisServer, server: PostgresServer, events: int, *, hold: bool) -> tuple[float, float]:
    """What one spooler stores per second, and what two do."""
    one, two = (stored_per_s(redis, server, count, events, hold=hold) for count in (1, 2))
    how = "held to a quarter of a core each" if hold else "unheld"
    print(f"{how}: one spooler {one:,.0f} events/s, two {two:,.0f}: {two / one:.2f} times", file=sys.stderr)
    return one, two


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--executions", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    for figure in measure(arguments.events, arguments.executions, arguments.seconds):
        print(f"{figure.name}: {figure.value:,.2f} {figure.unit}")


if __name__ == "__main__":
    main()
