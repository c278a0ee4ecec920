"""Locks that are answered while no process serves their run, over a real transport."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import cloudpickle
import pytest

from kodosumi.error import ExecutionNotFound, LockNotFound, LockReleased
from kodosumi.events import Event, EventKind, ExecutionState, new_fid
from kodosumi.runner.kept_locks import KeptLocks, kept_of
from kodosumi.runner.lock_types import LockAnswer, OpenLock
from kodosumi.runner.spec import KeptLock
from kodosumi.transport.memory import MemoryTransport
from tests.conditions import until

ANSWER = LockAnswer(cloudpickle.dumps("yes"), '"yes"', "bob", 1.5)


class Scene:
    """A run without a process, and what its transport was told."""

    def __init__(self, *lids: str, expires_s: float = 60.0) -> None:
        self.fid = new_fid()
        self.transport = MemoryTransport()
        self.producer = self.transport.producer(self.fid, "ada")
        expires = time.time() + expires_s
        self.locks = tuple(KeptLock(lid, "ask", {"of": lid}, expires, ("eve",), True) for lid in lids)
        opened = kept_of(OpenLock(self.fid, "ada", lock.lid, lock.name, lock.data, lock.expires) for lock in self.locks)
        self.kept = KeptLocks(self.fid, "ada", self.producer.ticket, opened)

    async def leases(self) -> list[dict[str, Any]]:
        """All that was told of locks until now."""
        await self.kept.close()
        consumer = self.transport.consumer()
        deliveries = await consumer.take(1000, 0.0)
        events = [event for delivery in deliveries for batch in delivery.batches for event in batch.events]
        return [json.loads(event.payload)["dict"] for event in events if event.kind == EventKind.LEASE]


async def test_an_answer_is_told_and_handed_over() -> None:
    scene = Scene("one", "two")
    assert (await scene.kept.lock(scene.fid, "one")).data == {"of": "one"}
    claim = await scene.kept.claim_lock(scene.fid, "one", "c")
    await scene.kept.settle_lock(scene.fid, "one", claim.id, ANSWER)
    with pytest.raises(LockReleased):
        await scene.kept.claim_lock(scene.fid, "one", "d")
    assert scene.kept.took("c")

    stranger = KeptLock("three", "ask", None, 1.0)
    one, two, three = scene.kept.hand_over([*scene.locks, stranger])

    assert (one.answered, one.result, one.assignee, one.four_eyes) == (True, "yes", ("eve",), True)
    assert (two, three) == (scene.locks[1], stranger)
    [lease] = await scene.leases()
    assert (lease["lid"], lease["result"], lease["by"]) == ("one", "yes", "bob")


async def test_one_that_expires_meanwhile_is_told_and_not_handed_over() -> None:
    scene = Scene("one", expires_s=0.05)
    await _released(scene, "one")
    assert scene.kept.hand_over(scene.locks) == ()
    [lease] = await scene.leases()
    assert lease["expired"] is True


async def _released(scene: Scene, lid: str) -> None:
    async def state() -> str:
        try:
            await scene.kept.lock(scene.fid, lid)
        except LockReleased:
            return "released"
        return "open"

    await until(state, lambda state: state == "released")


async def test_claims_end_when_the_next_attempt_begins() -> None:
    scene = Scene("one")
    held = await scene.kept.claim_lock(scene.fid, "one", "c")
    queued = asyncio.create_task(scene.kept.claim_lock(scene.fid, "one", "d"))
    await asyncio.sleep(0)
    assert scene.kept.hand_over(scene.locks) == scene.locks
    with pytest.raises(ExecutionNotFound):
        await queued
    with pytest.raises(ExecutionNotFound):
        await scene.kept.settle_lock(scene.fid, "one", held.id, ANSWER)
    assert await scene.leases() == []


async def test_nothing_is_answered_after_the_runs_end() -> None:
    scene = Scene("one")
    await scene.producer.put([Event.now(EventKind.STATUS, ExecutionState.ERROR)])
    claim = await scene.kept.claim_lock(scene.fid, "one", "c")
    with pytest.raises(ExecutionNotFound):
        await scene.kept.settle_lock(scene.fid, "one", claim.id, ANSWER)
    with pytest.raises(LockNotFound):
        await scene.kept.lock(scene.fid, "two")
    await scene.kept.close()
