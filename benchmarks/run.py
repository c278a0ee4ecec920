"""``make bench``: starts a stack with a Ray and a data folder of its own, measures it, prints the table."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
import ray

from benchmarks import central, durable, files, spoolers
from benchmarks.end_to_end import Bench, Figure, logged_in, measure
from benchmarks.stacks import say, stack
from benchmarks.store_timeline import filled
from tests.servers.redis import RedisServer
from tests.stack import StackProcess

EXECUTIONS = 100_000


def machine() -> str:
    """One line that says what this was measured on."""
    cores, memory = os.cpu_count(), psutil.virtual_memory().total / 2**30
    system = f"{platform.system()} {platform.release().partition('-')[0]}"
    versions = f"Python {platform.python_version()}, Ray {ray.__version__}"
    return f"{cores} cores ({platform.machine()}), {memory:.0f} GiB, {system}, {versions}"


async def fill(exec_dir: Path, executions: int) -> None:
    """Puts finished executions into the index of a store that isn't open elsewhere."""
    await (await filled(exec_dir, executions)).close()


def table(figures: list[Figure]) -> str:
    """The figures as a Markdown table."""
    rows = ["| figure | measured | goal | |", "|---|---:|---:|---|"]
    for figure in figures:
        sign = "≥" if figure.least else "≤"
        digits = ",.0f" if figure.value >= 100 else ".1f"
        measured = f"{figure.value:{digits}} {figure.unit}"
        rows.append(f"| {figure.name} | {measured} | {sign} {figure.goal:,g} | {'met' if figure.met else 'missed'} |")
    return "\n".join(rows)


def embedded(executions: int) -> list[Figure]:
    """The default stack: Ray and SQLite."""
    with tempfile.TemporaryDirectory(prefix="kodosumi-bench") as folder:
        say(f"filling SQLite with {executions:,} executions …")
        asyncio.run(fill(Path(folder), executions))
        say("measuring the default stack …")
        with stack(KODO_EXEC_DIR=folder) as running:
            return asyncio.run(measure(running, executions))


def postgresql(executions: int, submit_ms: float) -> list[Figure]:
    """Ray and PostgreSQL, with ten times the executions."""
    with central.server() as server:
        database = server.create_database()
        say(f"filling PostgreSQL with {executions:,} executions …")
        long_fid = central.fill(server, database, executions)
        say("measuring the stack with PostgreSQL …")
        with stack(KODO_EXECUTION_DATABASE=server.url(database)) as running:
            return asyncio.run(central.measure(running, server, database, long_fid, executions, submit_ms))


def redis() -> list[Figure]:
    """Redis and SQLite: what the transport is responsible for."""
    server = RedisServer(appendonly="yes")
    server.start()
    say("measuring the stack with Redis …")
    try:
        with stack(KODO_EVENT_TRANSPORT="redis", KODO_REDIS_URL=server.url()) as running:
            return asyncio.run(_through_redis(running))
    finally:
        server.remove()


async def _through_redis(running: StackProcess) -> list[Figure]:
    async with logged_in(running) as client:
        bench = Bench(running, client)
        submit, burst, paced = await bench.submit_to_finished(), await bench.burst(), await bench.paced()
    goals = ((submit, 80), (burst, 20_000), (paced, 8))
    return [figure._replace(name=f"{figure.name}, Redis", goal=goal) for figure, goal in goals]


def main() -> int:
    """Measures and prints; the exit code is 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=EXECUTIONS, help="executions behind the timeline")
    executions = parser.parse_args().executions
    figures = embedded(executions)
    figures += postgresql(10 * executions, figures[0].value)
    figures += redis()
    say("measuring one spooler and two …")
    figures += spoolers.measure()
    say("measuring durable runs …")
    figures += durable.measure()
    say("measuring files …")
    figures += files.measure()
    print(f"Measured on {machine()}.\n\n{table(figures)}")
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
