"""Durable runs without Ray: a real Temporal, the mode, a worker, a spooler, and a pool whose attempts are scripted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHandle

from kodosumi.activities import AgentActivities
from kodosumi.config import Settings
from kodosumi.events import EventKind
from kodosumi.execution.temporal import TemporalMode
from kodosumi.store import ExecutionStore
from kodosumi.store.memory import MemoryExecutionStore
from kodosumi.temporal_worker import TemporalWorker
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until
from tests.engine import Engine
from tests.scripted_pool import Attempt, ScriptedPool


class OneStoreMode(TemporalMode):
    """Keeps launches where this process's worker finds them."""

    store: ExecutionStore

    def _store_in(self, folder: str) -> ExecutionStore:
        self._stores[""] = self.store
        return self.store


class Durable(Engine):
    """An engine in mode ``temporal``.

    Args:
        address: of Temporal. folder: of the test.

    Attributes:
        pool: what attempts do.
    """

    store: MemoryExecutionStore
    mode: OneStoreMode

    def __init__(self, address: str, folder: Path, **settings: Any) -> None:
        self._name = name = uuid.uuid4().hex
        self.transport = MemoryTransport(name)
        self.pool = ScriptedPool(self.transport)
        chosen = Settings(
            _env_file=None,
            execution_mode="temporal",
            temporal_host=address,
            temporal_task_queue=name,
            temporal_drain_timeout=0.0,
            **settings,
        )
        mode = OneStoreMode(chosen, self.pool)  # type: ignore[arg-type]
        super().__init__(chosen, folder, mode, self.transport)
        mode.store = self.store

    @contextlib.asynccontextmanager
    async def spooling(self) -> AsyncIterator[None]:
        """A spooler works inside."""
        task = asyncio.create_task(self.spooler.run())
        try:
            yield
        finally:
            self.spooler.stop()
            await task

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker works inside; it leaves its runs when it ends."""
        ready = asyncio.Event()
        worker = self.worker()
        task = asyncio.create_task(worker.run(ready.set))
        await ready.wait()
        try:
            yield
        finally:
            worker.stop()
            await task

    def worker(self) -> TemporalWorker:
        """A worker that doesn't work yet."""
        return TemporalWorker(self.settings, AgentActivities(self.pool, self.store, MemoryTransport(self._name)))

    async def attempt(self, fid: str, number: int = 1) -> Attempt:
        """An attempt, once it has begun."""
        return await until(lambda: self.pool.attempts[fid, number])

    async def told_attempts(self, fid: str) -> list[dict[str, Any]]:
        """What the attempt events say."""
        return [json.loads(payload)["dict"] for payload in await self.payloads(fid, EventKind.ATTEMPT)]

    async def workflow(self, fid: str) -> WorkflowHandle[Any, Any]:
        """A run's workflow."""
        return await self.mode._asked(lambda client: _handle(client, f"kodo-{fid}"))

    async def history(self, fid: str) -> str:
        """What Temporal keeps of a run, as JSON."""
        return (await (await self.workflow(fid)).fetch_history()).to_json()

    async def closed(self, fid: str) -> str:
        """The name of the state that a run's workflow ended in."""
        handle = await self.workflow(fid)
        described = await until(handle.describe, lambda described: described.status.name != "RUNNING", 60.0)
        return described.status.name


async def _handle(client: Any, workflow_id: str) -> Any:
    return client.get_workflow_handle(workflow_id)
