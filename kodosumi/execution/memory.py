"""Execution mode ``memory``: runs in this very process, one after the other, without Ray. For tests of agents."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from ..config import Settings
from ..error import ExecutionClosed, ExecutionNotFound, LaunchUnavailable, LockNotFound, TransportError
from ..events import Event, EventKind, ExecutionState
from ..runner.attempts import checked, delay_s, following
from ..runner.head import head_events
from ..runner.lock_types import LockAnswer, LockClaim, OpenLock
from ..runner.main import Runner
from ..runner.spec import AppEnvironment, AttemptEnd, RunSpec
from ..transport import EventProducer, Transport, connect_transport
from ..transport.ending import put_end


@dataclass(eq=False, slots=True)
class _Run:
    """One accepted run.

    Attributes:
        spec: what to run next. producer: tells what its runner doesn't.
        going: set while it isn't paused.
        idle: set while the runner doesn't serve it. begun: whether it ever did.
        killed_by: who asked for its end.
        steering: held while it's paused or resumed from here.
    """

    spec: RunSpec
    producer: EventProducer
    going: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    begun: bool = False
    killed_by: str | None = None
    steering: asyncio.Lock = field(default_factory=asyncio.Lock)
    serving: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.going.set()
        self.idle.set()

    @property
    def at_work(self) -> bool:
        return not self.idle.is_set()

    @property
    def fid(self) -> str:
        return self.spec.fid


class MemoryMode:
    """Keeps runs in this process; they end with it.

    Args:
        transport: where the runs' events go; share it with the spooler of the same process.
        lock_expires_s: seconds until a lock expires that names no timeout.
        max_event_bytes: largest payload of one event.
    """

    name = "memory"

    def __init__(
        self, transport: Transport, lock_expires_s: float = 10_800.0, max_event_bytes: int = 268_435_456
    ) -> None:
        self._transport = transport
        self._max_event_bytes = max_event_bytes
        self._lock_expires_s = lock_expires_s
        self._runs: dict[str, _Run] = {}
        self._runner: Runner | None = None
        self._turn = asyncio.Lock()
        self._refusal: str | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> MemoryMode:
        """For the family's factory."""
        return cls(connect_transport(settings), settings.lock_expires, settings.max_event_bytes)

    async def launch(self, spec: RunSpec) -> None:
        if spec.fid in self._runs:
            return
        if self._refusal:
            raise LaunchUnavailable(f"The run was not started: {self._refusal}. Try again later.")
        producer = self._transport.producer(spec.fid, spec.username)
        try:
            await producer.put(head_events(spec))
        except TransportError as exc:
            raise LaunchUnavailable(f"The run was not started: {exc}. Try again later.") from exc
        run = self._runs[spec.fid] = _Run(checked(spec), producer)
        run.serving = asyncio.create_task(self._serve(run))

    async def cancel(self, fid: str, by: str) -> bool:
        run = self._runs.get(fid)
        if run is None or run.serving is None:
            return False
        run.killed_by = run.killed_by or by
        if not run.at_work:
            run.serving.cancel()
        elif self._runner is not None:
            await self._runner.cancel(fid, by)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(run.serving)
        return True

    async def pause(self, fid: str, by: str) -> bool:
        return await self._steer(fid, by, pause=True)

    async def resume(self, fid: str, by: str) -> bool:
        return await self._steer(fid, by, pause=False)

    async def lock(self, fid: str, lid: str) -> OpenLock:
        return await self._runner_of(fid, lid).open_lock(fid, lid)

    async def claim_lock(self, fid: str, lid: str) -> LockClaim:
        return await self._runner_of(fid, lid).claim_lock(fid, lid, uuid.uuid4().hex)

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        await self._runner_of(fid, lid).settle_lock(fid, lid, claim, answer)

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        return frozenset(fid for fid in fids if fid in self._runs)

    async def places(self) -> dict[str, int]:
        waiting = [run.fid for run in self._runs.values() if not run.at_work and run.going.is_set()]
        return {fid: place for place, fid in enumerate(waiting, start=1)}

    async def configure(self) -> None:
        """Nothing to configure."""

    async def refuse(self, reason: str | None) -> None:
        self._refusal = reason

    async def warm(self, environment: AppEnvironment, wanted_s: float) -> None:
        """Nothing to warm."""

    async def figures(self) -> dict[str, int]:
        running = sum(run.at_work for run in self._runs.values())
        return {"waiting": len(self._runs) - running, "running": running}

    async def restarted(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        for run in self._runs.values():
            if run.serving is not None:
                run.serving.cancel()

    def _runner_of(self, fid: str, lid: str) -> Runner:
        run = self._runs.get(fid)
        if run is None:
            raise ExecutionNotFound(fid)
        if not run.at_work or self._runner is None:
            raise LockNotFound(fid, lid)
        return self._runner

    async def _steer(self, fid: str, by: str, *, pause: bool) -> bool:
        """Pauses or resumes a run, wherever it stands; returns when that is in the transport."""
        run = self._runs.get(fid)
        if run is None:
            return False
        async with run.steering:
            while run.at_work and self._runner is not None:
                if await (self._runner.pause if pause else self._runner.resume)(fid, by):
                    (run.going.clear if pause else run.going.set)()
                    return True
                # This attempt is about to end; another one may follow.
                await run.idle.wait()
            return fid in self._runs and await self._steer_idle(run, pause=pause)

    async def _steer_idle(self, run: _Run, *, pause: bool) -> bool:
        if pause != run.going.is_set():
            return True
        if pause:
            run.going.clear()  # first: it must not begin meanwhile
        told = await self._tell(run, self._state_of(run, pause=pause))
        if told and not pause:
            run.going.set()
        return told

    def _state_of(self, run: _Run, *, pause: bool) -> ExecutionState:
        if pause:
            return ExecutionState.PAUSED
        return ExecutionState.RUNNING if run.begun else ExecutionState.STARTING

    async def _tell(self, run: _Run, state: ExecutionState) -> bool:
        try:
            await run.producer.put([Event.now(EventKind.STATUS, state)])
        except ExecutionClosed:
            return False
        return True

    async def _serve(self, run: _Run) -> None:
        """One attempt after the other, until its end is in the transport."""
        try:
            while await self._attempted(run):
                pass
        except asyncio.CancelledError:
            if run.killed_by is None:
                raise
            await put_end(run.producer, f"killed by {run.killed_by}")
        finally:
            self._runs.pop(run.fid, None)
            await run.producer.close()

    async def _attempted(self, run: _Run) -> bool:
        """Serves an attempt in its turn; True when it's time for another one, False when the run is over."""
        await self._turn_of(run)
        try:
            run.begun = True
            run.idle.clear()
            self._runner = self._runner or Runner(run.spec.environment)
            ticket = replace(run.producer.ticket, max_event_bytes=self._max_event_bytes)
            outcome = await self._runner.run(run.spec, ticket, self._lock_expires_s)
        finally:
            run.idle.set()
            self._turn.release()
        if outcome.end != AttemptEnd.RAISED:
            return False
        if run.killed_by is not None:
            await put_end(run.producer, f"killed by {run.killed_by}")
            return False
        delay, run.spec = delay_s(run.spec), following(run.spec, outcome)
        await asyncio.sleep(delay)
        return True

    async def _turn_of(self, run: _Run) -> None:
        """Returns when the run has the process to itself; a paused one lets others go first."""
        while True:
            await run.going.wait()
            await self._turn.acquire()
            if run.going.is_set():
                return
            self._turn.release()
