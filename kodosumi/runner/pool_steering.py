"""Steering: runs are ended, paused and resumed where they are, in their process, or here while they have none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from ray.exceptions import RayActorError, RayError

from ..events import ExecutionState
from .pool_runs import Run, Runs
from .pool_serving import Serving
from .process import RunnerProcess
from .tasks import BackgroundTasks

CANCEL_GRACE_S = 8.0
"""A runner ends a cancelled run itself within five seconds; after this it's taken for hung and killed."""

STEER_TIMEOUT_S = 5.0
"""So long a process may say that the run's code isn't running there, though it hasn't left the run."""

STEER_PAUSE_S = 0.05


class Steering:
    """Does what ``ExecutionMode`` says.

    Args:
        runs: of the pool. serving: of the pool.
    """

    def __init__(self, runs: Runs, serving: Serving) -> None:
        self._runs = runs
        self._serving = serving
        self._tasks = BackgroundTasks()

    async def cancel(self, fid: str, by: str) -> bool:
        """Ends a run; returns when its terminal event is in the transport."""
        run = self._runs.unended(fid)
        if run is None:
            return False
        run.killed_by = run.killed_by or by
        lives, process = fid in self._runs.living, run.process
        if process is None:
            return await self._end_here(run) or lives
        try:
            async with asyncio.timeout(CANCEL_GRACE_S):
                await process.cancel(fid, by)
                await run.over.wait()
        except (TimeoutError, RayError):
            process.end()
            await run.over.wait()
        return True

    async def end(self, run: Run, reason: str) -> bool:
        """Gives a run its end at once, whoever serves it; False: it had one."""
        if run.over.is_set():
            return False
        run.end_reason = run.end_reason or reason
        if run.process is None:
            return await self._end_here(run)
        run.process.end()
        return (await asyncio.shield(run.outcome)).reason == run.due_end

    async def _end_here(self, run: Run) -> bool:
        self._serving.waiting.remove(run.user, run)
        return await self._runs.end(run, run.due_end or "")

    async def pause(self, fid: str, by: str) -> bool:
        """Has a run wait; returns when that is in the transport."""
        return await self._steered(fid, lambda run: self._hold_back(run, by), lambda one: one.pause(fid, by), by)

    async def resume(self, fid: str, by: str) -> bool:
        """Lets a paused run go on; returns when that is in the transport."""
        return await self._steered(fid, self._let_go_on, lambda one: one.resume(fid, by), None)

    def paused_before(self, run: Run, by: str) -> None:
        """Takes over that a run is paused, which may have been asked for when nobody could tell it."""
        run.paused_by = by
        self._tasks.spawn(self._tell_paused(run))

    async def _tell_paused(self, run: Run) -> None:
        async with run.putting:
            if run.paused_by is not None and not run.over.is_set():
                await self._runs.tell(run, ExecutionState.PAUSED)

    async def _steered(
        self,
        fid: str,
        here: Callable[[Run], Awaitable[bool | None]],
        there: Callable[[RunnerProcess], Awaitable[bool]],
        paused_by: str | None,
    ) -> bool:
        """Pauses or resumes a run where it is.

        Args:
            here, there: does it; None: a process has just taken it. paused_by: what is true afterwards.
        """
        patient_until = time.monotonic() + STEER_TIMEOUT_S
        while (run := self._runs.unended(fid)) is not None and time.monotonic() < patient_until:
            process = run.process
            if process is None:
                done = await here(run)
                if done is not None:
                    return done
                continue
            if await _done(there(process)) and run.process in (process, None):
                self._note(run, paused_by)
                return True
            # Its code hasn't begun, or is just over: what comes next is another process, none, or the end.
            await asyncio.sleep(STEER_PAUSE_S)
        return False

    def _note(self, run: Run, paused_by: str | None) -> None:
        """What a process has told is so; it may have left the run since."""
        before, run.paused_by = run.paused_by, paused_by
        if run.process is not None:
            self._serving.rests(run, paused=paused_by is not None)
        elif paused_by is not None:
            self._serving.waiting.remove(run.user, run)
        elif before is not None:
            self._serving.queue(run)

    async def _hold_back(self, run: Run, by: str) -> bool | None:
        async with run.putting:
            if run.over.is_set() or run.process is not None:
                return None
            if run.paused_by is not None:
                return True
            # Before it's told: it must not begin meanwhile.
            run.paused_by = by
            self._serving.waiting.remove(run.user, run)
            try:
                return await self._runs.tell(run, ExecutionState.PAUSED)
            except BaseException:
                run.paused_by = None
                self._serving.queue(run)
                raise

    async def _let_go_on(self, run: Run) -> bool | None:
        async with run.putting:
            if run.over.is_set() or run.process is not None:
                return None
            if run.paused_by is None:
                return True
            begun = run.number > 1 or run.outcome.done()
            if not await self._runs.tell(run, ExecutionState.RUNNING if begun else ExecutionState.STARTING):
                return False
            # Afterwards: what its process tells must come behind.
            run.paused_by = None
            self._serving.queue(run)
            return True


async def _done(call: Awaitable[bool]) -> bool:
    try:
        return await call
    except RayActorError:
        return False
