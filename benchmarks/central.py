"""Measures a stack whose executions are in PostgreSQL, on a server of its own on this machine."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from benchmarks.end_to_end import Bench, Figure, logged_in
from kodosumi.events import new_fid
from tests.servers.postgres import PostgresServer
from tests.stack import StackProcess

RUNS, EVENTS_EACH = 20, 15_000
LONG = 1_000_000
FIRST = 100

EXECUTIONS = """
INSERT INTO executions (fid, username, version, seq, state, started_at, finished_at, changed_at, modified_at)
SELECT lpad(to_hex(1500000000 + n), 8, '0') || lpad(to_hex(n), 16, '0'), md5((n % 50)::text), 1, 7, 'finished',
    1.5e9 + n, 1.5e9 + n + 1, 1.5e9 + n + 1, 1.5e9 + n + 1 FROM generate_series(1, {count}) AS n;
INSERT INTO execution_details (fid, meta, inputs, final, search)
SELECT fid, '{{"summary": "Run ' || md5(fid) || '", "tags": ["a", "b"]}}', '{{"dict": {{"limit": 3}}}}', '',
    'summary:run ' || md5(fid) FROM executions
"""

LONG_EXECUTION = """
INSERT INTO executions (fid, username, version, seq, state, started_at, finished_at, changed_at, modified_at)
VALUES ('{fid}', 'somebody', 1, {count}, 'finished', 1.5e9, 1.6e9, 1.6e9, 1.6e9);
INSERT INTO execution_events (fid, username, timestamp, kind, message, seq)
SELECT '{fid}', 'somebody', 1.5e9 + n * 0.001, CASE WHEN n = {count} THEN 'status' ELSE 'debug' END,
    CASE WHEN n = {count} THEN 'finished' ELSE 'event ' || n || ' of many' END, n FROM generate_series(1, {count}) AS n
"""


@contextmanager
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL server with the settings that a package gives it."""
    with PostgresServer() as running:
        yield running


def fill(server: PostgresServer, database: str, executions: int) -> str:
    """Puts executions behind the timeline, and one with a million events; gives that one's id."""
    fid = new_fid(1.5e9)
    with server.connected(database) as connection:
        for script in (EXECUTIONS.format(count=executions), LONG_EXECUTION.format(fid=fid, count=LONG)):
            for statement in script.split(";\n"):
                connection.execute(statement)
        connection.execute("VACUUM ANALYZE")
    return fid


class CentralBench(Bench):
    """A logged-in client of a stack on PostgreSQL, and of its database.

    Args:
        stack: ready. client: logged in. server: where its database is. database: its name.
    """

    def __init__(self, stack: StackProcess, client: httpx.AsyncClient, server: PostgresServer, database: str) -> None:
        super().__init__(stack, client)
        self._server = server
        self._database = database

    async def spooled(self) -> Figure:
        """Events of 20 runs that wait in the transport, from when the spooler may work until all are committed."""
        spooler = self._stack.role("spooler")
        spooler.suspend()
        try:
            fids = await asyncio.gather(*(self.launch("burst", EVENTS_EACH) for _ in range(RUNS)))
            while await self._waiting() < RUNS * EVENTS_EACH:
                await asyncio.sleep(0.2)
            began = time.time()
        finally:
            spooler.resume()
        while (progress := await asyncio.to_thread(self._progress, fids))[0] < RUNS:
            await asyncio.sleep(0.2)
        _, events, ended = progress
        name = f"{RUNS} runs of {EVENTS_EACH:,} events, transport → stored in PostgreSQL"
        return Figure(name, events / (ended - began), "events/s", 30_000, True)

    async def _waiting(self) -> int:
        answer = await self._client.get("/health")
        return int(answer.json()["parts"]["transport"].get("waiting_events", 0))

    def _progress(self, fids: list[str]) -> tuple[int, int, float]:
        """How many have ended, their events, and when the last of them was committed (seconds since the epoch)."""
        listed = ", ".join(f"'{fid}'" for fid in fids)
        columns = "count(finished_at), sum(seq), max(modified_at)"
        query = f"SELECT {columns} FROM executions WHERE fid IN ({listed})"
        ended, events, last = self._server.execute(query, self._database)[0]
        return int(ended), int(events or 0), float(last or 0)

    async def long_read(self, fid: str) -> list[Figure]:
        """A client that reads an execution of a million events from its beginning."""
        rates, firsts = [], []
        for _ in range(2):
            began, first, frames = time.perf_counter(), 0.0, 0
            async with self._client.stream("GET", f"/outputs/stream/{fid}") as response:
                async for chunk in response.raise_for_status().aiter_raw():
                    frames += chunk.count(b"\r\n\r\n")
                    if not first and frames >= FIRST:
                        first = time.perf_counter() - began
            if frames < LONG:
                raise RuntimeError(f"{frames} events came of {LONG}")
            rates.append(frames / (time.perf_counter() - began))
            firsts.append(first * 1000)
        return [
            Figure(f"{LONG:,} events of one execution, read by a client", max(rates), "events/s", 50_000, True),
            Figure(f"first {FIRST} of them", statistics.median(firsts), "ms", 300),
        ]


async def measure(
    stack: StackProcess, server: PostgresServer, database: str, long_fid: str, executions: int, submit_ms: float
) -> list[Figure]:
    """All figures of a stack that is ready, in the order of the table.

    Args:
        stack: runs ``load.app`` alone, on ``database`` of ``server``. long_fid: see :func:`fill`.
        executions: how many lie behind the timeline.
        submit_ms: what submit → finished took with SQLite in the same session, milliseconds.
    """
    async with logged_in(stack) as client:
        bench = CentralBench(stack, client, server, database)
        submit = await bench.submit_to_finished()
        figures = [submit._replace(name=f"{submit.name}, PostgreSQL", goal=1.5 * submit_ms)]
        figures.append(await bench.spooled())
        figures += await bench.long_read(long_fid)
        timeline = await bench.timeline(executions)
        return [*figures, timeline._replace(name=f"{timeline.name}, PostgreSQL")]
