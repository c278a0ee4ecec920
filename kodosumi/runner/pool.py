"""The pool: one actor per cluster that accepts runs, lets them wait their turn and gives each a warm process.

It holds a call on every run, so it notices a process's death at once and ends the run. It never sees a user's
code or an event of theirs. When it dies, Ray restarts it and it finds the living runners again; runs that waited
are unknown to it then, and the spooler ends them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from ..cluster import NAMESPACE
from ..config import Settings
from ..error import LaunchUnavailable, TransportError
from ..transport import EventProducer, Transport, connect_transport
from ..transport.ending import put_end
from .fair_queue import FairQueue
from .head import head_events
from .main import StaleEnvironment
from .process import NAME_PREFIX, RunnerProcess
from .spec import AppEnvironment, RunSpec

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 10.0
"""Longest wait for the transport to take a launch's first events."""

SPAWN_PATIENCE_S = 0.1
"""How long a run waits for a busy process to become free before another is started for it."""

SPARE_AFTER_S = 0.5
"""A run this long is no short one: another warm process is made ready meanwhile."""

CANCEL_GRACE_S = 8.0
"""A runner ends a cancelled run itself within five seconds; after this it's taken for hung and killed."""

ADOPT_TIMEOUT_S = 30.0
WANTED_BY_LAUNCH_S = 600.0
REFUSAL_LIFETIME_S = 15.0
START_ATTEMPTS = 2


@dataclass(eq=False, slots=True)
class Run:
    """One accepted run.

    Attributes:
        fid, user: whose it is.
        producer: ends it when its process can't.
        spec: what to run; None for a run found at work after the pool's restart.
        process: who serves it, None while it waits.
        over: set when its terminal event is in the transport.
    """

    fid: str
    user: str
    producer: EventProducer
    spec: RunSpec | None
    process: RunnerProcess | None = None
    killed_by: str | None = None
    waiting_since: float = field(default_factory=time.monotonic)
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class Shelf:
    """The processes of one environment.

    Attributes:
        environment: how to start one; None until an app has named it (after the pool's restart).
        idle, busy: processes ready and at work.
        starting: how many are being started.
        failures: starts that failed in a row.
        wanted_until: clock (monotonic seconds) until which warm processes are kept.
    """

    environment: AppEnvironment | None = None
    idle: list[RunnerProcess] = field(default_factory=list)
    busy: set[RunnerProcess] = field(default_factory=set)
    starting: int = 0
    failures: int = 0
    wanted_until: float = 0.0


class RunnerPool:
    """The actor's class; ``execution/direct.py`` makes and calls it.

    Args:
        settings: limits and transport, until :meth:`configure` brings others.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._transport: Transport = connect_transport(settings)
        self._runs: dict[str, Run] = {}
        self._waiting: FairQueue[Run] = FairQueue()
        self._shelves: dict[str, Shelf] = {}
        self._refusal: tuple[str, float] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._recovery: asyncio.Task[None] | None = None
        self._forever = asyncio.Event()

    # calls of the execution mode -----------------------------------------------------------------------------------

    async def launch(self, spec: RunSpec) -> None:
        """See :meth:`kodosumi.execution.base.ExecutionMode.launch`."""
        await self._recovered()
        if spec.fid in self._runs:
            return
        self._check_refusal()
        run = Run(spec.fid, spec.username, self._transport.producer(spec.fid, spec.username), spec)
        # Known before its first event can be stored: so the spooler never takes it for a lost one.
        self._runs[spec.fid] = run
        try:
            await asyncio.wait_for(run.producer.put(head_events(spec)), HEAD_TIMEOUT_S)
        except (TransportError, TimeoutError) as exc:
            del self._runs[spec.fid]
            self._background(_close(run.producer))
            reason = str(exc) or "the event queue is full and nothing is being stored"
            raise LaunchUnavailable(f"The run was not started: {reason}. Try again later.") from exc
        self._shelf(spec.environment, WANTED_BY_LAUNCH_S)
        self._waiting.add(run.user, run)
        self._dispatch()

    async def cancel(self, fid: str, by: str) -> bool:
        """See :meth:`kodosumi.execution.base.ExecutionMode.cancel`."""
        await self._recovered()
        run = self._runs.get(fid)
        if run is None:
            return False
        run.killed_by = run.killed_by or by
        if run.process is None:
            self._waiting.remove(run.user, run)
            await self._end(run, f"killed by {run.killed_by}")
            return True
        try:
            async with asyncio.timeout(CANCEL_GRACE_S):
                await run.process.cancel(fid, by)
                await run.over.wait()
        except (TimeoutError, RayError):
            run.process.end()
            await run.over.wait()
        return True

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        """See :meth:`kodosumi.execution.base.ExecutionMode.known`."""
        await self._recovered()
        return frozenset(fid for fid in fids if fid in self._runs)

    async def places(self) -> dict[str, int]:
        """See :meth:`kodosumi.execution.base.ExecutionMode.places`."""
        return {run.fid: place for place, run in enumerate(self._waiting, start=1)}

    async def warm(self, environment: AppEnvironment, wanted_s: float) -> None:
        """Keeps warm processes ready for an app for the next ``wanted_s`` seconds."""
        await self._recovered()
        self._shelf(environment, wanted_s)
        self._keep_warm(environment.key)

    async def configure(self, settings: Settings) -> None:
        """Makes these settings the cluster's: limits at once, the transport for runs launched from now on."""
        if settings.event_transport != self._settings.event_transport:
            self._transport = connect_transport(settings)
        self._settings = settings
        self._dispatch()

    async def refuse(self, reason: str | None) -> None:
        """Refuses launches with this reason for a while (the store can't keep them); None takes them again."""
        self._refusal = (reason, time.monotonic() + REFUSAL_LIFETIME_S) if reason else None

    async def figures(self) -> dict[str, int]:
        """Counts for health: runs waiting and running, processes idle, busy and starting."""
        shelves = self._shelves.values()
        return {
            "waiting": len(self._waiting),
            "running": self._running,
            "idle_processes": sum(len(shelf.idle) for shelf in shelves),
            "busy_processes": sum(len(shelf.busy) for shelf in shelves),
            "starting_processes": sum(shelf.starting for shelf in shelves),
        }

    async def watch(self) -> None:
        """A held call: ends only with this actor."""
        await self._forever.wait()

    # giving runs to processes --------------------------------------------------------------------------------------

    @property
    def _running(self) -> int:
        return sum(len(shelf.busy) for shelf in self._shelves.values())

    def _dispatch(self) -> None:
        """Gives waiting runs to idle processes in fair order, and starts processes for those that wait too long."""
        if not self._waiting:
            return
        lacking: dict[str, float] = {}
        for run in list(self._waiting):
            if self._running >= self._settings.max_runs:
                return
            assert run.spec is not None
            key = run.spec.environment.key
            shelf = self._shelves[key]
            if shelf.idle:
                self._waiting.take(run.user, run)
                self._give(run, shelf)
            else:
                lacking.setdefault(key, run.waiting_since)
        for key, since in lacking.items():
            self._start_for(self._shelves[key], since)

    def _give(self, run: Run, shelf: Shelf) -> None:
        process = shelf.idle.pop()
        shelf.busy.add(process)
        process.fid, run.process = run.fid, process
        self._background(self._serve(run, process, shelf))
        self._later(SPARE_AFTER_S, lambda: self._keep_warm(process.key))

    def _start_for(self, shelf: Shelf, since: float) -> None:
        """Starts one more process, unless enough are on their way or a busy one may be free in a moment."""
        patience = SPAWN_PATIENCE_S - (time.monotonic() - since) if shelf.busy else 0.0
        if patience > 0:
            self._later(patience, self._dispatch)
        elif self._starting < _start_limit():
            self._background(self._start(shelf))

    @property
    def _starting(self) -> int:
        return sum(shelf.starting for shelf in self._shelves.values())

    async def _start(self, shelf: Shelf) -> None:
        assert shelf.environment is not None
        shelf.starting += 1
        try:
            process = await RunnerProcess.start(shelf.environment)
        except Exception as exc:
            shelf.failures += 1
            logger.warning("a runner for %s could not be started: %s", shelf.environment.app, exc)
            if shelf.failures >= START_ATTEMPTS:
                await self._give_up(shelf, exc)
        else:
            shelf.failures = 0
            shelf.idle.append(process)
        finally:
            shelf.starting -= 1
            self._dispatch()

    async def _give_up(self, shelf: Shelf, cause: Exception) -> None:
        """Ends the runs that wait for an environment in which no process can be started."""
        shelf.failures = 0
        assert shelf.environment is not None
        for run in list(self._waiting):
            if run.spec is not None and run.spec.environment.key == shelf.environment.key:
                self._waiting.remove(run.user, run)
                await self._end(run, f"The runner could not be started: {cause}")

    async def _serve(self, run: Run, process: RunnerProcess, shelf: Shelf) -> None:
        assert run.spec is not None
        reusable = False
        try:
            outcome = await process.run(run.spec, run.producer.ticket)
            reusable = outcome.reusable and process.runs < self._settings.runner_max_runs
            self._forget(run)
        except StaleEnvironment:
            self._return_to_queue(run)
        except RayActorError as exc:
            await self._end(run, _death_notice(run, exc))
        except Exception as exc:
            logger.exception("the runner of %s failed", run.fid)
            await self._end(run, f"The runner failed: {exc}")
        finally:
            self._take_back(process, shelf, reusable=reusable)

    def _return_to_queue(self, run: Run) -> None:
        run.process = None
        if run.killed_by:
            self._background(self._end_quietly(run))
        else:
            self._waiting.put_back(run.user, run)

    async def _end_quietly(self, run: Run) -> None:
        await self._end(run, f"killed by {run.killed_by}")

    def _take_back(self, process: RunnerProcess, shelf: Shelf, *, reusable: bool) -> None:
        shelf.busy.discard(process)
        process.fid = None
        if reusable:
            process.idle_since = time.monotonic()
            shelf.idle.append(process)
        else:
            process.end()
            self._keep_warm(process.key)
        self._dispatch()
        self._later(self._settings.runner_idle_timeout, self._retire)

    # ends ----------------------------------------------------------------------------------------------------------

    async def _end(self, run: Run, reason: str) -> None:
        await put_end(run.producer, reason)
        self._forget(run)

    def _forget(self, run: Run) -> None:
        self._runs.pop(run.fid, None)
        run.over.set()
        self._background(_close(run.producer))

    def _check_refusal(self) -> None:
        if self._refusal is not None and time.monotonic() < self._refusal[1]:
            raise LaunchUnavailable(f"The run was not started: {self._refusal[0]}. Try again later.")

    # warm processes ------------------------------------------------------------------------------------------------

    def _shelf(self, environment: AppEnvironment, wanted_s: float) -> Shelf:
        shelf = self._shelves.setdefault(environment.key, Shelf())
        shelf.environment = environment
        shelf.wanted_until = max(shelf.wanted_until, time.monotonic() + wanted_s)
        self._later(wanted_s + 1.0, self._retire)
        return shelf

    def _keep_warm(self, key: str) -> None:
        shelf = self._shelves.get(key)
        if shelf is None or shelf.environment is None or time.monotonic() > shelf.wanted_until:
            return
        missing = self._settings.runner_warm - len(shelf.idle) - shelf.starting
        for _ in range(min(missing, _start_limit() - self._starting)):
            self._background(self._start(shelf))

    def _retire(self) -> None:
        """Ends idle processes above the warm ones, and all of an environment that no app wants any more."""
        now = time.monotonic()
        for key, shelf in list(self._shelves.items()):
            wanted = now <= shelf.wanted_until
            keep = self._settings.runner_warm if wanted else 0
            oldest_first = sorted(shelf.idle, key=lambda process: process.idle_since)
            for process in oldest_first[: max(0, len(shelf.idle) - keep)]:
                if not wanted or now - process.idle_since >= self._settings.runner_idle_timeout:
                    shelf.idle.remove(process)
                    process.end()
            if not wanted and not (shelf.idle or shelf.busy or shelf.starting) and not self._waits_for(key):
                del self._shelves[key]

    def _waits_for(self, key: str) -> bool:
        return any(run.spec is not None and run.spec.environment.key == key for run in self._waiting)

    # after a restart -----------------------------------------------------------------------------------------------

    async def _recovered(self) -> None:
        if self._recovery is None or (self._recovery.done() and self._recovery.exception()):
            self._recovery = asyncio.create_task(self._recover())
        await asyncio.shield(self._recovery)

    async def _recover(self) -> None:
        """Finds the runners of an earlier pool, before anything is said about what is known."""
        names = await asyncio.to_thread(ray.util.list_named_actors, all_namespaces=True)
        runners = [
            entry["name"]
            for entry in names
            if entry["namespace"] == NAMESPACE and entry["name"].startswith(NAME_PREFIX)
        ]
        await asyncio.gather(*(self._adopt(name) for name in runners))

    async def _adopt(self, name: str) -> None:
        try:
            process = await asyncio.to_thread(RunnerProcess.adopt, name)
        except ValueError:
            return
        try:
            current = await asyncio.wait_for(process.current(), ADOPT_TIMEOUT_S)
        except (RayError, TimeoutError) as exc:
            logger.warning("runner %s does not answer and is ended: %s", name, exc)
            process.end()
            return
        shelf = self._shelves.setdefault(process.key, Shelf(wanted_until=time.monotonic() + WANTED_BY_LAUNCH_S))
        if current is None:
            shelf.idle.append(process)
            return
        fid, ticket = current
        run = Run(fid, ticket.username, self._transport.producer_from(ticket), None, process)
        self._runs[fid] = run
        shelf.busy.add(process)
        process.fid = fid
        self._background(self._serve_adopted(run, process, shelf))

    async def _serve_adopted(self, run: Run, process: RunnerProcess, shelf: Shelf) -> None:
        reusable = False
        try:
            outcome = await process.wait()
            reusable = outcome is not None and outcome.reusable
            self._forget(run)
        except RayError as exc:
            await self._end(run, _death_notice(run, exc))
        finally:
            self._take_back(process, shelf, reusable=reusable)

    # plumbing ------------------------------------------------------------------------------------------------------

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(delay_s, call)

    def _background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()):
            logger.error("a task of the pool failed", exc_info=exc)


def _death_notice(run: Run, cause: Exception) -> str:
    if run.killed_by:
        return f"killed by {run.killed_by}"
    first_line = (str(cause).splitlines() or [""])[0]
    return f"RunnerDied: the process of this run ended unexpectedly. {first_line}".rstrip()


def _start_limit() -> int:
    """Processes started at once in the cluster: starting costs a core for a second."""
    return max(1, int(_cluster_cpus()))


def _cluster_cpus() -> float:
    global _cpus
    if _cpus is None:
        resources: Mapping[str, float] = ray.cluster_resources()
        _cpus = resources.get("CPU", 1.0)
    return _cpus


_cpus: float | None = None


async def _close(producer: EventProducer) -> None:
    await producer.close()
