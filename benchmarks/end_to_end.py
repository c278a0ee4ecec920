"""Measures a running stack from outside, as a client sees it. Clocks are this machine's: client and runner share it."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
import psutil

from benchmarks.plain_client import PlainClient
from tests.stack import StackProcess

READ_S = 0.05
"""From a lock's being shown until it is answered."""


class Figure(NamedTuple):
    """One measured figure.

    Attributes:
        name: what was measured. value: the result, in ``unit``. goal: what it should reach.
        least: whether the goal is a lower bound (throughput) and not an upper one (time, load).
    """

    name: str
    value: float
    unit: str
    goal: float
    least: bool = False

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.value >= self.goal if self.least else self.value <= self.goal


class Bench:
    """A logged-in client of a stack that runs ``load.app``.

    Args:
        stack: ready. client: logged in, its base address is the panel's.
    """

    def __init__(self, stack: StackProcess, client: httpx.AsyncClient) -> None:
        self._stack = stack
        self._client = client
        self._app = f"/-/localhost/{stack.serve_port}/-"

    async def launch(self, flow: str, events: int = 20, per_s: float = 50) -> str:
        """Starts a run and returns its id."""
        answer = await self._client.post(f"{self._app}/{flow}", json={"events": events, "per_s": per_s})
        fid: str = answer.raise_for_status().json()["result"]
        return fid

    async def follow(self, fid: str) -> AsyncIterator[tuple[str, float, str, float]]:
        """Kind, timestamp, payload and time of arrival of each event until the end."""
        async with self._client.stream("GET", f"/outputs/stream/{fid}", params={"extended": "true"}) as response:
            response.raise_for_status()
            kind = ""
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    kind = line[7:]
                elif line.startswith("data: ") and kind == "eof":
                    return
                elif line.startswith("data: "):
                    timestamp, _, payload = line[6:].partition(":")
                    yield kind, float(timestamp), payload, time.time()

    async def finished(self, fid: str) -> float:
        """Time of arrival of the terminal event."""
        async for kind, _, payload, seen in self.follow(fid):
            if kind == "status" and payload in {"finished", "error"}:
                if payload == "error":
                    raise RuntimeError(f"{fid} ended with an error")
                return seen
        raise RuntimeError(f"{fid} has no end")

    async def submit_to_finished(self) -> Figure:
        """A run that returns at once, from the submit until a viewer sees that it is finished."""
        taken = [await self.nothing_s() for _ in range(60)]
        return Figure("submit → finished seen, p50", statistics.median(taken[10:]) * 1000, "ms", 80)

    async def nothing_s(self) -> float:
        """Seconds from the submit of a run that returns at once until a viewer sees its end."""
        began = time.time()
        return await self.finished(await self.launch("nothing")) - began

    async def burst(self) -> Figure:
        """10,000 events of one run, from the first one's making until the viewer has the last one."""
        rates = []
        for _ in range(4):
            times = [
                (made, seen)
                async for kind, made, _, seen in self.follow(await self.launch("burst", 10_000))
                if kind == "debug"
            ]
            rates.append(len(times) / (times[-1][1] - times[0][0]))
        return Figure("10,000 events, emitted → stored → seen", statistics.median(rates[1:]), "events/s", 10_000, True)

    async def paced(self) -> Figure:
        """50 events a second for ten seconds, from the making until the viewer has them."""
        fid = await self.launch("paced", 500, 50)
        late = [seen - made async for kind, made, _, seen in self.follow(fid) if kind == "debug"]
        return Figure("50 events/s, emit → seen, p50", statistics.median(late[50:]) * 1000, "ms", 10)

    async def answered(self, locks: int = 120) -> Figure:
        """Answers to a lock, from their sending until user code goes on.

        They come a moment after the lock is shown, as from whoever reads it first: what opening one still does in the
        background isn't in it.
        """
        fid = await self.launch("ask", locks)
        cookies = "; ".join(f"{name}={value}" for name, value in self._client.cookies.items())
        answering = PlainClient(self._stack.url, {"Origin": self._stack.url, "Cookie": cookies})
        sent, late = 0.0, []
        async for kind, _, payload, _ in self.follow(fid):
            if kind == "lock":
                place = f"/lock/{fid}/{json.loads(payload)['dict']['lid']}"
                await asyncio.sleep(READ_S)
                sent = await answering.post(place, {"answer": "yes"})
            elif kind == "debug":
                late.append(float(payload) - sent)
        return Figure("lock, answer → user code, p50", statistics.median(late[20:]) * 1000, "ms", 20)

    async def at_once(self, runs: int = 20) -> Figure:
        """Runs of 20 events, submitted at the same moment, until all are finished.

        Raises:
            RuntimeError: one of them ended with an error.
        """
        began = time.time()
        fids = await asyncio.gather(*(self.launch("burst", 20) for _ in range(runs)))
        ends = await asyncio.gather(*(self.finished(fid) for fid in fids))
        return Figure(f"{runs} runs of 20 events at once, all finished", max(ends) - began, "s", 5)

    async def idle(self, seconds: float = 20) -> Figure:
        """Processor time of panel and spooler when nothing happens."""
        load = await self._load(["panel", "spooler"], seconds)
        return Figure("panel and spooler, idle", load, "% of a core", 2)

    async def viewers(self, seconds: float = 20) -> Figure:
        """Processor time of the panel while 50 viewers watch a run that says nothing."""
        fid = await self.launch("idle", 600)
        watching = [asyncio.create_task(self._watch(fid)) for _ in range(50)]
        await asyncio.sleep(3)
        try:
            load = await self._load(["panel"], seconds)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await self._client.delete(f"/outputs/{fid}", headers={"Origin": self._stack.url})
        return Figure("50 idle viewers, panel", load, "% of a core", 5)

    async def timeline(self, executions: int) -> Figure:
        """A page of the timeline with many executions behind it."""
        taken = []
        for _ in range(40):
            began = time.perf_counter()
            (await self._client.get("/timeline", params={"mode": "next", "pp": 25})).raise_for_status()
            taken.append(time.perf_counter() - began)
        name = f"timeline page, {executions:,} executions, p50"
        return Figure(name, statistics.median(taken[5:]) * 1000, "ms", 50)

    async def _watch(self, fid: str) -> None:
        async for _ in self.follow(fid):
            pass

    async def _load(self, roles: list[str], seconds: float) -> float:
        """Per cent of one core that the children of these roles used."""
        watched = [family for role in roles for family in self._family(self._stack.role(role))]
        before = sum(_processor_s(process) for process in watched)
        began = time.monotonic()
        await asyncio.sleep(seconds)
        return 100 * (sum(_processor_s(process) for process in watched) - before) / (time.monotonic() - began)

    @staticmethod
    def _family(process: psutil.Process) -> list[psutil.Process]:
        return [process, *process.children(recursive=True)]


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@asynccontextmanager
async def logged_in(stack: StackProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the first operator, once the panel knows the flows of ``load.app``."""
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=stack.url, timeout=120, limits=limits, trust_env=False) as client:
        login = {"name": "admin", "password": "admin"}
        (await client.post("/api/login", content=json.dumps(login))).raise_for_status()
        await _registered(client)
        await _settled()
        yield client


async def measure(stack: StackProcess, executions: int) -> list[Figure]:
    """All figures of a stack that is ready, in the order of the table.

    Args:
        stack: runs ``load.app`` alone.
        executions: how many lie in its store.
    """
    async with logged_in(stack) as client:
        bench = Bench(stack, client)
        parts: list[Callable[[], Awaitable[Figure]]] = [
            bench.submit_to_finished,
            bench.burst,
            bench.paced,
            bench.answered,
            bench.viewers,
            bench.idle,
            bench.at_once,
        ]
        figures = [await part() for part in parts]
        return [*figures, await bench.timeline(executions)]


async def _registered(client: httpx.AsyncClient) -> None:
    """Returns when the panel knows the flows of the app."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if len((await client.get("/flow")).raise_for_status().json()["items"]) >= 6:
            return
        await asyncio.sleep(0.2)
    raise RuntimeError("the panel does not list the flows of the benchmark")


async def _settled() -> None:
    """Returns when the machine has done with the start: Ray goes on starting processes for a while."""
    psutil.cpu_percent()
    quiet, end = 0, time.monotonic() + 90
    while quiet < 3 and time.monotonic() < end:
        await asyncio.sleep(1)
        quiet = quiet + 1 if psutil.cpu_percent() < 15 else 0
