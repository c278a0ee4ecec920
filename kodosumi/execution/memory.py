"""Execution mode ``memory``: runs in this very process, one after the other, without Ray. For tests of agents."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Collection
from dataclasses import replace

from ..config import Settings
from ..error import ExecutionNotFound, LaunchUnavailable, LockNotFound, TransportError
from ..runner.head import head_events
from ..runner.lock_types import LockAnswer, LockClaim, OpenLock
from ..runner.main import Runner
from ..runner.spec import AppEnvironment, RunSpec
from ..transport import EventProducer, Transport, connect_transport
from ..transport.ending import put_end


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
        self._waiting: dict[str, EventProducer] = {}
        self._runs: dict[str, asyncio.Task[None]] = {}
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
        self._waiting[spec.fid] = producer
        self._runs[spec.fid] = asyncio.create_task(self._serve(spec, producer))

    async def cancel(self, fid: str, by: str) -> bool:
        run = self._runs.get(fid)
        if run is None:
            return False
        if fid in self._waiting:
            run.cancel()
            await put_end(self._waiting.pop(fid), f"killed by {by}")
            self._runs.pop(fid, None)
        elif self._runner is not None:
            await self._runner.cancel(fid, by)
            with contextlib.suppress(asyncio.CancelledError):
                await run
        return True

    async def lock(self, fid: str, lid: str) -> OpenLock:
        return await self._runner_of(fid, lid).open_lock(fid, lid)

    async def claim_lock(self, fid: str, lid: str) -> LockClaim:
        return await self._runner_of(fid, lid).claim_lock(fid, lid, uuid.uuid4().hex)

    async def settle_lock(self, fid: str, lid: str, claim: str, answer: LockAnswer | None) -> None:
        await self._runner_of(fid, lid).settle_lock(fid, lid, claim, answer)

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        return frozenset(fid for fid in fids if fid in self._runs)

    async def places(self) -> dict[str, int]:
        return {fid: place for place, fid in enumerate(self._waiting, start=1)}

    async def configure(self) -> None:
        """Nothing to configure."""

    async def refuse(self, reason: str | None) -> None:
        self._refusal = reason

    async def warm(self, environment: AppEnvironment, wanted_s: float) -> None:
        """Nothing to warm."""

    async def figures(self) -> dict[str, int]:
        return {"waiting": len(self._waiting), "running": len(self._runs) - len(self._waiting)}

    async def restarted(self) -> None:
        await asyncio.Event().wait()

    async def close(self) -> None:
        for run in self._runs.values():
            run.cancel()

    def _runner_of(self, fid: str, lid: str) -> Runner:
        if fid not in self._runs:
            raise ExecutionNotFound(fid)
        if fid in self._waiting or self._runner is None:
            raise LockNotFound(fid, lid)
        return self._runner

    async def _serve(self, spec: RunSpec, producer: EventProducer) -> None:
        try:
            async with self._turn:
                del self._waiting[spec.fid]
                self._runner = self._runner or Runner(spec.environment)
                ticket = replace(producer.ticket, max_event_bytes=self._max_event_bytes)
                await self._runner.run(spec, ticket, self._lock_expires_s)
        finally:
            self._runs.pop(spec.fid, None)
            await producer.close()
