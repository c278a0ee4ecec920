"""The pool's stock of runner processes: started ahead of need, handed out one run at a time, retired when unwanted."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import ray

from ..config import Settings
from .process import RunnerProcess
from .spec import AppEnvironment
from .tasks import BackgroundTasks

logger = logging.getLogger(__name__)

STANDSTILL_S = 0.2
"""So long no busy process became free: those that wait need another one."""

LONGEST_WAIT_S = 1.5
"""A run that waits so long has another process started for it, however fast the others are served."""

SPARE_AFTER_S = 0.5
"""A run this long is no short one: another warm process is made ready meanwhile."""

START_ATTEMPTS = 2
MAX_EXPECTED = 4
MAX_EXPECTED_BYTES = 4_096


@dataclass(eq=False, slots=True)
class Shelf:
    """The processes of one environment.

    Attributes:
        environment: how to start one; None until an app has named it (after the pool's restart).
        idle, busy: processes ready and at work.
        starting: how many are being started.
        failures: starts that failed in a row.
        handed_at: clock (monotonic seconds) when a process was last given a run.
        wanted_until: clock (monotonic seconds) until which warm processes are kept.
        expected: the entry points launched last, for which new processes import what they need ahead.
        alarm: the next look at what waits; one at a time, however many wait.
    """

    environment: AppEnvironment | None = None
    idle: list[RunnerProcess] = field(default_factory=list)
    busy: set[RunnerProcess] = field(default_factory=set)
    starting: int = 0
    failures: int = 0
    handed_at: float = 0.0
    wanted_until: float = 0.0
    expected: dict[str | bytes, None] = field(default_factory=dict)
    alarm: asyncio.TimerHandle | None = None


class ProcessStock:
    """Processes by environment.

    Args:
        settings: limits; replaceable at any time.
        on_ready: called whenever a process may have become available.
        on_failure: awaited when no process can be started in an environment, with the cause.
    """

    def __init__(
        self,
        settings: Settings,
        on_ready: Callable[[], None],
        on_failure: Callable[[AppEnvironment, Exception], Awaitable[None]],
    ) -> None:
        self.settings = settings
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._shelves: dict[str, Shelf] = {}
        self._tasks = BackgroundTasks()
        self._start_limit = 0

    @property
    def processes(self) -> list[RunnerProcess]:
        """All that serve or could serve, in all environments."""
        return [process for shelf in self._shelves.values() for process in (*shelf.busy, *shelf.idle)]

    @property
    def busy(self) -> int:
        """Processes at work, in all environments."""
        return sum(len(shelf.busy) for shelf in self._shelves.values())

    @property
    def working(self) -> int:
        """Processes at work whose run neither waits for a lock nor is paused."""
        return sum(not process.rests for shelf in self._shelves.values() for process in shelf.busy)

    @property
    def awaiting(self) -> int:
        """Processes at work whose run waits for a lock and isn't paused."""
        return sum(process.waits and not process.paused for shelf in self._shelves.values() for process in shelf.busy)

    @property
    def starting(self) -> int:
        """Processes being started, in all environments."""
        return sum(shelf.starting for shelf in self._shelves.values())

    def figures(self) -> dict[str, int]:
        """Counts of processes for health."""
        idle = sum(len(shelf.idle) for shelf in self._shelves.values())
        return {"idle_processes": idle, "busy_processes": self.busy, "starting_processes": self.starting}

    def want(self, environment: AppEnvironment, wanted_s: float) -> None:
        """Keeps this environment's warm processes for the next ``wanted_s`` seconds."""
        shelf = self._shelves.setdefault(environment.key, Shelf())
        shelf.environment = environment
        shelf.wanted_until = max(shelf.wanted_until, time.monotonic() + wanted_s)
        _later(wanted_s + 1.0, self._retire)

    def expect(self, key: str, entry_point: str | bytes) -> None:
        """Has processes started from now on import ahead what this entry point needs."""
        if len(entry_point) > MAX_EXPECTED_BYTES:
            return
        expected = self._shelves[key].expected
        expected.pop(entry_point, None)
        expected[entry_point] = None
        if len(expected) > MAX_EXPECTED:
            del expected[next(iter(expected))]

    def take(self, key: str) -> RunnerProcess | None:
        """An idle process, now at work; None when there is none."""
        shelf = self._shelves[key]
        if not shelf.idle:
            return None
        process = shelf.idle.pop()
        process.waits = process.paused = False
        shelf.busy.add(process)
        shelf.handed_at = time.monotonic()
        runs = process.runs
        _later(SPARE_AFTER_S, lambda: self._spare(process, runs))
        return process

    def give_back(self, process: RunnerProcess, *, reusable: bool) -> None:
        """Takes a process back from work: to be used again, or ended."""
        shelf = self._shelves[process.key]
        shelf.busy.discard(process)
        if reusable:
            process.idle_since = time.monotonic()
            shelf.idle.append(process)
            _later(self.settings.runner_idle_timeout, self._retire)
        else:
            process.end()
            self.keep_warm(process.key)
        self._on_ready()

    def adopt(self, process: RunnerProcess, wanted_s: float, *, at_work: bool) -> None:
        """Takes in a process that an earlier pool started."""
        shelf = self._shelves.setdefault(process.key, Shelf())
        shelf.wanted_until = max(shelf.wanted_until, time.monotonic() + wanted_s)
        if at_work:
            shelf.busy.add(process)
        else:
            shelf.idle.append(process)
        _later(wanted_s + 1.0, self._retire)

    def demand(self, key: str, waiting_since: float) -> None:
        """Starts one more process for a run that waits, unless busy ones become free by themselves.

        Starting costs a core for a second, in which a warm process serves dozens of short runs.

        Args:
            key: the environment. waiting_since: clock (monotonic seconds) when the run began to wait.
        """
        shelf = self._shelves[key]
        served_since = max(waiting_since, shelf.handed_at)
        due = min(served_since + STANDSTILL_S, waiting_since + LONGEST_WAIT_S) if _may_become_free(shelf) else 0.0
        patience = due - time.monotonic()
        if patience > 0:
            self._look_again(shelf, patience)
        elif self._may_start():
            self._start(shelf)

    def keep_warm(self, key: str) -> None:
        """Starts what an environment's warm processes lack, if it's still wanted."""
        shelf = self._shelves.get(key)
        if shelf is None or shelf.environment is None or time.monotonic() > shelf.wanted_until:
            return
        missing = self.settings.runner_warm - len(shelf.idle) - shelf.starting
        while missing > 0 and self._may_start():
            self._start(shelf)
            missing -= 1

    def _look_again(self, shelf: Shelf, delay_s: float) -> None:
        if shelf.alarm is None:
            shelf.alarm = asyncio.get_running_loop().call_later(delay_s, self._alarmed, shelf)

    def _alarmed(self, shelf: Shelf) -> None:
        shelf.alarm = None
        self._on_ready()

    def _spare(self, process: RunnerProcess, runs: int) -> None:
        """Makes another process ready when this one is still at the run it was given."""
        shelf = self._shelves.get(process.key)
        if shelf is not None and process in shelf.busy and process.runs <= runs + 1:
            self.keep_warm(process.key)

    def _may_start(self) -> bool:
        """Starting costs a core for a second, so as many at once as the cluster has cores."""
        self._start_limit = self._start_limit or _cores()
        return self.starting < self._start_limit

    def _start(self, shelf: Shelf) -> None:
        shelf.starting += 1
        self._tasks.spawn(self._started(shelf))

    async def _started(self, shelf: Shelf) -> None:
        assert shelf.environment is not None
        try:
            process = await RunnerProcess.start(shelf.environment, list(shelf.expected), self.settings.log_format)
        except Exception as exc:
            shelf.failures += 1
            logger.warning("a runner for %s could not be started: %s", shelf.environment.app, exc)
            if shelf.failures >= START_ATTEMPTS:
                shelf.failures = 0
                await self._on_failure(shelf.environment, exc)
        else:
            shelf.failures = 0
            shelf.idle.append(process)
            _later(self.settings.runner_idle_timeout, self._retire)
        finally:
            shelf.starting -= 1
        self._on_ready()

    def _retire(self) -> None:
        """Ends idle processes above the warm ones, and all of an environment that no app wants any more."""
        now = time.monotonic()
        for key, shelf in list(self._shelves.items()):
            wanted = now <= shelf.wanted_until
            surplus = len(shelf.idle) - (self.settings.runner_warm if wanted else 0)
            for process in sorted(shelf.idle, key=lambda process: process.idle_since)[: max(0, surplus)]:
                if not wanted or now - process.idle_since >= self.settings.runner_idle_timeout:
                    shelf.idle.remove(process)
                    process.end()
            if not (wanted or shelf.idle or shelf.busy or shelf.starting):
                del self._shelves[key]


def _may_become_free(shelf: Shelf) -> bool:
    """Whether a process is at work that doesn't wait for a human."""
    return any(not process.rests for process in shelf.busy)


def _cores() -> int:
    """Cores of the cluster: what Ray was told it has, but no more than machines like this one can have."""
    nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    return max(1, min(int(ray.cluster_resources().get("CPU", 1)), (os.cpu_count() or 1) * nodes))


def _later(delay_s: float, call: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(delay_s, call)
