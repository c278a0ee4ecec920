"""Serving: runs that wait get a process in turn, and what follows when a process has left them.

What follows an attempt: the run is over; or its code is called again here (``Retry``, direct mode); or, of a durable
run, it rests until whoever sees to its attempts asks for the next one.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayActorError

from ..config import Settings
from ..log import about
from ..transport import ProducerTicket
from .attempts import checked, delay_s, following, outcome_of
from .clock import RunClock
from .fair_queue import FairQueue
from .kept_locks import KeptLocks, kept_of
from .main import RunOutcome, StaleEnvironment
from .pool_runs import Run, Runs
from .process import RunnerProcess
from .spec import AppEnvironment, AttemptEnd, AttemptOutcome, CurrentRun, KeptLock, RunSpec
from .stock import ProcessStock
from .tasks import BackgroundTasks

logger = logging.getLogger(__name__)

WANTED_BY_LAUNCH_S = 600.0


class Serving:
    """Gives runs to processes.

    Args:
        settings: limits; replaceable at any time by way of ``stock.settings``.
        runs: the pool's book.

    Attributes:
        stock: the processes.
        waiting: runs that wait for their turn.
    """

    def __init__(self, settings: Settings, runs: Runs) -> None:
        self._runs = runs
        self.stock = ProcessStock(settings, self.dispatch, self._give_up)
        self.waiting: FairQueue[Run] = FairQueue()
        self._tasks = BackgroundTasks()

    def begin(self, run: Run, spec: RunSpec) -> None:
        """An attempt of a run is to be served; a paused run waits until it's resumed."""
        # Its process needn't hold it back as well: that is done here, and ends here.
        spec = checked(replace(spec, attempt=replace(spec.attempt, paused_by=None)))
        run.spec, run.number = spec, spec.attempt.number
        if run.outcome.done():
            run.outcome = asyncio.get_running_loop().create_future()
        self._runs.wake(run)
        self.stock.want(spec.environment, WANTED_BY_LAUNCH_S)
        self.stock.expect(spec.environment.key, spec.entry_point)
        self._keep_locks(run, tuple(lock for lock in spec.attempt.kept if not lock.answered))
        self.queue(run)

    def queue(self, run: Run) -> None:
        """Has a run wait for its turn, if that is all it waits for."""
        if self._is_ready(run):
            run.waiting_since = time.monotonic()
            self.waiting.add(run.user, run)
            self.dispatch()

    def _is_ready(self, run: Run) -> bool:
        lives = self._runs.living.get(run.fid) is run and run.process is None and run.spec is not None
        return lives and run.retry_timer is None and run.paused_by is None and run.due_end is None

    def dispatch(self) -> None:
        """Gives waiting runs to idle processes in fair order, and has processes started for those that wait."""
        lacking: dict[str, float] = {}
        for run in list(self.waiting):
            if self.stock.working >= self.stock.settings.max_runs:
                return
            assert run.spec is not None
            key = run.spec.environment.key
            process = None if key in lacking else self.stock.take(key)
            if process is None:
                lacking.setdefault(key, run.waiting_since)
            else:
                self.waiting.take(run.user, run)
                self._attach(run, process)
                self._tasks.spawn(self._follow(run, process, self._served(run, run.spec, process)))
        for key, since in lacking.items():
            self.stock.demand(key, since)

    def adopt(self, run: Run, process: RunnerProcess, current: CurrentRun) -> None:
        """A run that was found at work after the pool's restart."""
        run.number = current.spec.attempt.number
        run.ran_before_s = current.ran_s
        run.paused_by, run.open_locks = current.paused_by, current.open_locks
        self._attach(run, process)
        self.rests(run, waits=current.waits, paused=current.paused_by is not None)
        self._tasks.spawn(self._follow(run, process, process.wait()))

    def rests(self, run: Run, *, waits: bool | None = None, paused: bool | None = None) -> None:
        """A run at work waits for a lock or is paused, or goes on. Whoever does takes nobody's place."""
        process, clock = run.process, run.clock
        if process is None or clock is None:
            return
        if waits is not None:
            process.waits = waits
            clock.hold("lock", waits)
        if paused is not None:
            process.paused = paused
            clock.hold("pause", paused)
        self.dispatch()

    async def supersede(self, run: Run, reason: str) -> None:
        """Ends the attempt that a durable run is at, for a later one; returns when nobody serves it any more."""
        process, freed = run.process, run.freed
        if process is not None:
            process.end()
            await freed.wait()
        else:
            self.waiting.remove(run.user, run)
            self._runs.rest(run, AttemptOutcome(AttemptEnd.DIED, reason))

    # at work ---------------------------------------------------------------------------------------------------------

    def _attach(self, run: Run, process: RunnerProcess) -> None:
        run.process, run.freed = process, asyncio.Event()
        run.clock = RunClock(None, lambda: None)
        run.clock.start()

    async def _served(self, run: Run, spec: RunSpec, process: RunnerProcess) -> RunOutcome:
        spec = await self._with_kept_locks(run, spec)
        # Sending the handle costs half a millisecond, which runs without locks needn't pay.
        pool = this_actor() if spec.locks != () else None
        return await process.run(spec, self._ticket(run, spec), self.stock.settings.lock_expires, pool)

    def _ticket(self, run: Run, spec: RunSpec) -> ProducerTicket:
        number = spec.attempt.number if run.repeats else None
        return replace(run.producer.ticket, max_event_bytes=self.stock.settings.max_event_bytes, attempt=number)

    async def _follow(self, run: Run, process: RunnerProcess, held: Awaitable[RunOutcome | None]) -> None:
        """Waits until the process has left the run, and does what is due then."""
        reusable = False
        try:
            outcome = await held
            reusable = self._reusable(process, outcome)
            await self._left(run, outcome)
        except StaleEnvironment:
            await self._serve_again(run)
        except RayActorError as exc:
            await self._lost(run, run.death_notice(exc))
        except Exception as exc:
            with about(fid=run.fid):
                logger.exception("the runner of %s failed", run.fid)
            await self._lost(run, f"The runner failed: {exc}")
        finally:
            self.stock.give_back(process, reusable=reusable)

    def _reusable(self, process: RunnerProcess, outcome: RunOutcome | None) -> bool:
        return outcome is not None and outcome.reusable and process.runs < self.stock.settings.runner_max_runs

    # afterwards ------------------------------------------------------------------------------------------------------

    async def _left(self, run: Run, outcome: RunOutcome | None) -> None:
        """Its process says that the attempt is over."""
        if outcome is None:
            await self._lost(run, "The runner served nothing.")
        elif outcome.end == AttemptEnd.CLOSED and run.durable and run.due_end is None:
            # Whether the run has its end, or its next attempt has begun, shows when that is served.
            self._free(run)
            self._runs.rest(run, outcome_of(outcome))
        elif outcome.end in (AttemptEnd.OVER, AttemptEnd.CLOSED):
            self._free(run)
            self._runs.close(run, outcome_of(outcome))
        elif run.due_end is not None or (run.spec is not None and run.spec.retry is None and not run.durable):
            self._free(run)
            await self._runs.end(run, run.due_end or outcome.failure)
        else:
            self._raised(run, outcome)

    def _raised(self, run: Run, outcome: RunOutcome) -> None:
        spec = run.spec
        assert spec is not None
        self._free(run)
        self._keep_locks(run, tuple(lock for lock in outcome.kept if not lock.answered))
        if run.durable:
            self._runs.rest(run, outcome_of(outcome))
            return
        run.spec, run.number = following(spec, outcome), spec.attempt.number + 1
        run.retry_timer = asyncio.get_running_loop().call_later(delay_s(spec), self._retry, run)

    def _retry(self, run: Run) -> None:
        run.retry_timer = None
        self.queue(run)

    async def _lost(self, run: Run, reason: str) -> None:
        """Its process is gone, or as good as gone, and has put no end."""
        ran_s = run.ran_s
        self._free(run)
        if run.due_end is not None or not run.durable:
            await self._runs.end(run, run.due_end or reason)
        else:
            self._keep_locks(run, kept_of(run.open_locks))
            self._runs.rest(run, AttemptOutcome(AttemptEnd.DIED, reason, ran_s))

    async def _serve_again(self, run: Run) -> None:
        """Another process must serve it: this one's code is out of date, and nothing of the run was put."""
        self._free(run)
        if run.due_end is not None:
            await self._runs.end(run, run.due_end)
        elif self._is_ready(run):
            self.waiting.put_back(run.user, run)

    def _free(self, run: Run) -> None:
        run.process, run.clock, run.ran_before_s = None, None, 0.0
        run.freed.set()

    async def _give_up(self, environment: AppEnvironment, cause: Exception) -> None:
        """Loses the runs that wait for an environment in which no process can be started."""
        for run in list(self.waiting):
            if run.spec is not None and run.spec.environment.key == environment.key:
                self.waiting.remove(run.user, run)
                await self._lost(run, f"The runner could not be started: {cause}")

    # locks that outlive their process --------------------------------------------------------------------------------

    def _keep_locks(self, run: Run, locks: tuple[KeptLock, ...]) -> None:
        run.open_locks = ()
        if locks and run.kept is None:
            ticket = replace(run.producer.ticket, max_event_bytes=self.stock.settings.max_event_bytes)
            run.kept = KeptLocks(run.fid, run.user, ticket, locks)

    async def _with_kept_locks(self, run: Run, spec: RunSpec) -> RunSpec:
        """The spec with what became of kept locks, which are its process's from now on."""
        kept = run.kept
        if kept is None:
            return spec
        taken_over = kept.hand_over(spec.attempt.kept)
        run.kept = None
        # What was answered comes before what the next attempt tells.
        await kept.close()
        return replace(spec, attempt=replace(spec.attempt, kept=taken_over))


@functools.cache
def this_actor() -> Any:
    """The pool's own handle; it stays good when Ray restarts the pool."""
    return ray.get_runtime_context().current_actor
