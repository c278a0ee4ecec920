"""Sees to the attempts of durable runs, as a worker does, but in a test's own steps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from kodosumi.config import Settings
from kodosumi.events import EventKind
from kodosumi.execution.direct import DirectMode
from kodosumi.runner.run import attempt_event
from kodosumi.runner.spec import Attempt, AttemptOutcome, KeptLock, RunSpec
from kodosumi.transport import connect_transport
from tests.conditions import until
from tests.engine import Engine


class Patient(DirectMode):
    """Knows every run: somebody sees to it, though the pool doesn't serve it now."""

    async def known(self, fids: Collection[str]) -> frozenset[str]:
        return frozenset(fids)


class Attending:
    """An engine whose runs are durable.

    Args:
        settings: of the cluster. folder: where its code lies.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.mode = Patient(settings)
        transport = connect_transport(settings)
        self.engine = Engine(settings, folder, self.mode, transport)
        self._transport = transport

    async def announced(self, entry_point: str, inputs: Any = None, **changes: Any) -> RunSpec:
        """A run whose first events are in the transport."""
        spec = replace(self.engine.spec(entry_point, inputs), durable=True, **changes)
        await self.mode.announce(spec)
        return spec

    def execute(self, spec: RunSpec) -> asyncio.Task[AttemptOutcome]:
        """The held call of an attempt."""
        return asyncio.create_task(self.mode.execute(spec))

    async def barrier(self, spec: RunSpec, reason: str = "its process was lost") -> RunSpec:
        """The next attempt of a run, once what all earlier ones told is stored, its locks taken from there."""
        attempt = Attempt(number=spec.attempt.number + 1, reason=reason)
        producer = self._transport.producer(spec.fid, spec.username, attempt.number)
        await producer.put([attempt_event(attempt)])
        await producer.close()
        numbers = await until(
            lambda: self.told(spec.fid, EventKind.ATTEMPT), lambda told: len(told) == attempt.number - 1
        )
        assert numbers[-1] == {"number": attempt.number, "reason": reason}
        return replace(spec, attempt=replace(attempt, kept=await self._kept(spec.fid)))

    async def told(self, fid: str, kind: EventKind) -> list[dict[str, Any]]:
        """What the stored events of a kind say."""
        return [json.loads(payload)["dict"] for payload in await self.engine.payloads(fid, kind)]

    async def _kept(self, fid: str) -> tuple[KeptLock, ...]:
        leases = {lease["lid"]: lease for lease in await self.told(fid, EventKind.LEASE)}
        return tuple(
            KeptLock(
                lid=lock["lid"],
                name=lock["name"],
                data=lock["data"],
                expires=lock["expires"],
                four_eyes=lock["four_eyes"],
                answered=lock["lid"] in leases,
                result=leases.get(lock["lid"], {}).get("result"),
            )
            for lock in await self.told(fid, EventKind.LOCK)
        )
