"""Durable runs: what mode ``temporal`` adds to a run, how long after a loss it goes on, many on one worker.

Two stacks run side by side, one in each mode, and are measured by turns: so both have the same machine. The Temporal is
its dev server, which keeps its state in memory.

Run: ``python -m benchmarks.durable [--submits N] [--losses N] [--runs N]``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

sys.path.insert(0, str(Path(__file__).parents[1]))

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from benchmarks.end_to_end import Bench, Figure, logged_in
from benchmarks.stacks import say, stack
from tests.servers.temporal import TemporalServer
from tests.stack import KOCO, StackProcess

TURNS = 3
PATIENCE_S = 60.0


def measure(submits: int = 50, losses: int = 3, runs: int = 50) -> list[Figure]:
    """All figures of durable runs.

    Args:
        submits: timed in each turn and mode. losses: how often worker and runner are killed. runs: at once.
    """
    with TemporalServer() as temporal:
        named = {"KODO_EXECUTION_MODE": "temporal", "KODO_TEMPORAL_HOST": temporal.address}
        with stack(**named) as durable:
            with stack() as direct:
                added = asyncio.run(_added(durable, direct, submits, temporal.address))
            many = asyncio.run(_with(durable, lambda bench: bench.at_once(runs)))
            lost = asyncio.run(_with(durable, lambda bench: _taken_over(bench, durable, temporal, losses)))
    name = f"{runs} durable runs of 20 events at once on one worker, all finished"
    return [added, lost, many._replace(name=name, goal=30)]


async def _added(durable: StackProcess, direct: StackProcess, submits: int, temporal: str) -> Figure:
    """What a durable run takes longer from submit to ``finished``; the median of the turns' differences."""
    async with logged_in(durable) as one, logged_in(direct) as other:
        benches = Bench(durable, one), Bench(direct, other)
        for bench in benches:
            for _ in range(10):
                await bench.nothing_s()
        turns = [[await _median_ms(bench, submits) for bench in benches] for _ in range(TURNS)]
        await _say_where(benches[0], await Client.connect(temporal))
    for durably, directly in turns:
        say(f"submit → finished seen, p50: mode temporal {durably:.1f} ms, direct {directly:.1f}")
    differences = [durably - directly for durably, directly in turns]
    return Figure("mode temporal adds to submit → finished seen, p50", statistics.median(differences), "ms", 150)


async def _median_ms(bench: Bench, submits: int) -> float:
    return statistics.median([await bench.nothing_s() for _ in range(submits)]) * 1000


async def _say_where(bench: Bench, client: Client, submits: int = 20) -> None:
    """Says when what happens to a durable run, in milliseconds since its submit; medians."""
    seen: dict[str, list[float]] = {}
    for _ in range(submits):
        began = time.time()
        fid = await bench.launch("nothing")
        steps = {"answered": time.time()}
        async for kind, made, payload, arrived in bench.follow(fid):
            steps[f"{kind} {payload}" if kind == "status" else kind] = made
            steps["end seen"] = arrived
        handle = client.get_workflow_handle(f"kodo-{fid}")
        await asyncio.gather(handle.result(), return_exceptions=True)
        async for event in handle.fetch_history_events():
            name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").lower()
            steps.setdefault(f"({name})", event.event_time.ToMicroseconds() / 1e6)
        for step, at in steps.items():
            seen.setdefault(step, []).append((at - began) * 1000)
    for step, after in sorted(seen.items(), key=lambda item: statistics.median(item[1])):
        say(f"{statistics.median(after):8.1f} ms  {step}")


async def _taken_over(bench: Bench, durable: StackProcess, temporal: TemporalServer, losses: int) -> Figure:
    """From ``kill -9`` of a run's worker and process until a viewer sees the next attempt; two workers lived before."""
    client = await Client.connect(temporal.address)
    taken = []
    for _ in range(losses):
        with another_worker(durable):
            taken.append(await _lost_s(bench, client))
    say(f"kill → attempt seen: {', '.join(f'{seconds:.1f} s' for seconds in taken)}")
    return Figure("worker and runner killed → next attempt, slowest", max(taken), "s", 15)


async def _lost_s(bench: Bench, client: Client) -> float:
    fid = await bench.launch("told", 2)
    killed = 0.0
    async for kind, _, payload, seen in bench.follow(fid):
        if kind == "debug" and not killed:
            worker = await _worker_of(client, fid)
            killed = time.time()
            for pid in (worker, int(payload)):
                os.kill(pid, signal.SIGKILL)
        elif kind == "attempt":
            say(f"{fid}: {json.loads(payload)['dict']['reason']}")
            await bench.finished(fid)
            return seen - killed
    raise RuntimeError(f"{fid} was over before it was lost")


async def _worker_of(client: Client, fid: str) -> int:
    """The process that looks after a run."""
    described = await client.get_workflow_handle(f"kodo-{fid}").describe()
    (pending,) = described.raw_description.pending_activities
    return int(pending.last_worker_identity.partition("@")[0])


async def _with(running: StackProcess, part: Callable[[Bench], Awaitable[Figure]]) -> Figure:
    async with logged_in(running) as client:
        return await part(Bench(running, client))


@contextmanager
def another_worker(running: StackProcess) -> Iterator[None]:
    """A second worker beside the stack's own, which the stack starts again when it's killed."""
    with tempfile.TemporaryFile() as log:
        worker = subprocess.Popen(
            [str(KOCO), "temporal-worker"], cwd=running.folder, env=running.environment, stdout=log, stderr=log
        )
        try:
            _until_serves(worker, log)
            yield
        finally:
            worker.terminate()
            worker.wait()


def _until_serves(worker: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    """Returns when a worker says that it takes runs.

    Raises:
        RuntimeError: it doesn't; shows what it said.
    """
    end, said = time.monotonic() + PATIENCE_S, b""
    while b" serves " not in said:
        if worker.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"no second worker: {said.decode()}")
        time.sleep(0.2)
        said = os.pread(log.fileno(), 1_000_000, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submits", type=int, default=50)
    parser.add_argument("--losses", type=int, default=3)
    parser.add_argument("--runs", type=int, default=50)
    arguments = parser.parse_args()
    for figure in measure(arguments.submits, arguments.losses, arguments.runs):
        print(f"{figure.name}: {figure.value:,.1f} {figure.unit}")


if __name__ == "__main__":
    main()
