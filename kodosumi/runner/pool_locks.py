"""Calls about locks, on their way through the pool: to the run's process, or to who keeps its locks meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from ..error import ExecutionNotFound, LaunchUnavailable, LockNotFound, LockReleased
from .lock_types import LockAnswer, LockClaim, OpenLock
from .pool_runs import Run, Runs
from .process import RunnerProcess
from .stock import ProcessStock

TOOK_TIMEOUT_S = 5.0
CHANGE_TIMEOUT_S = 10.0
"""So long a call waits for the process that takes over; then its caller is told to try again."""

CHANGE_PAUSE_S = 0.05

Answer = TypeVar("Answer")


class LockPlace(Protocol):
    """Where a run's locks are answered: a process, or what keeps them while there is none."""

    async def lock(self, fid: str, lid: str) -> OpenLock: ...

    async def claim_lock(self, fid: str, lid: str, claim: str) -> LockClaim: ...

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None: ...


class LockDesk:
    """Does what ``ExecutionMode`` says of locks.

    Args:
        runs: of the pool. stock: its processes.
    """

    def __init__(self, runs: Runs, stock: ProcessStock) -> None:
        self._runs = runs
        self._stock = stock

    async def lock(self, fid: str, lid: str) -> OpenLock:
        """An open lock of a run."""
        return await self._asked(fid, lid, lambda place: place.lock(fid, lid))

    async def claim(self, fid: str, lid: str, claim: str) -> LockClaim:
        """Begins to answer a lock; a held call while another claim is worked on."""
        return await self._asked(fid, lid, lambda place: place.claim_lock(fid, lid, claim))

    async def settle(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        """Ends a claim; returns when the answer's event is in the transport."""
        try:
            await self._settle(fid, lid, claim, answer)
        except ExecutionNotFound:
            # Asked again because an earlier pool died before it could answer? With its answer, a run may soon be over.
            if answer is None or not await self._took(claim):
                raise

    async def _settle(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        try:
            await self._asked(fid, lid, lambda place: place.settle_lock(fid, lid, claim, answer))
        except LockReleased:
            run = self._runs.unended(fid)
            if answer is None or run is None or not run.repeats:
                raise
            # The claim may be one of a process that is gone, and the lock open all the same.
            await self.claim(fid, lid, claim)
            await self._asked(fid, lid, lambda place: place.settle_lock(fid, lid, claim, answer))

    async def _took(self, claim: str) -> bool:
        """Whether any process took a claim's answer."""

        async def took(process: RunnerProcess) -> bool:
            async with asyncio.timeout(TOOK_TIMEOUT_S):
                taken: bool = await process.took(claim)
            return taken

        return True in await asyncio.gather(*map(took, self._stock.processes), return_exceptions=True)

    async def _asked(self, fid: str, lid: str, call: Callable[[LockPlace], Awaitable[Answer]]) -> Answer:
        """What the run's place says; asked again where another process takes over under the call."""
        # From the first refusal on: before it, a call may have been held for long where it was answered.
        patient_until: float | None = None
        while True:
            run = self._runs.unended(fid)
            if run is None or run.ending:
                raise ExecutionNotFound(fid)
            place: LockPlace | None = run.kept or run.process
            if place is None:
                raise self._nowhere(run, lid)
            try:
                return await call(place)
            except (ExecutionNotFound, LaunchUnavailable):
                if not run.repeats:
                    raise
                patient_until = patient_until or time.monotonic() + CHANGE_TIMEOUT_S
                if time.monotonic() > patient_until:
                    raise LaunchUnavailable("The run is being started again. Try again.") from None
            except LockNotFound:
                if run.durable and place is run.kept:
                    # It may be one that was opened in the last moment of the process: the next attempt knows.
                    raise LaunchUnavailable("The run is being started again. Try again.") from None
                raise
            await asyncio.sleep(CHANGE_PAUSE_S)

    def _nowhere(self, run: Run, lid: str) -> Exception:
        # Before its first attempt it has opened none; in the last moment of one that died it may have.
        if run.durable and (run.number != 1 or run.outcome.done()):
            return LaunchUnavailable("The run is being started again. Try again.")
        return LockNotFound(run.fid, lid)
