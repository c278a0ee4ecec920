"""Locks on a real cluster: from remote tasks, past the pool's death, and without taking anybody's place."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from pathlib import Path

import pytest

from kodosumi.error import ExecutionNotFound, LaunchUnavailable
from kodosumi.events import EventKind, ExecutionState, StoredEvent
from tests.conditions import until
from tests.engine import Engine
from tests.mode_contract import answer, open_locks, refused, settle, told

AGENT = """
import asyncio, os
import ray

@ray.remote
def plainly(tracer):
    tracer.debug_sync("in the task")
    got = tracer.lock_sync("ask", "plainly")
    tracer.debug_sync("answered")
    return got

@ray.remote(num_cpus=0)
def awaiting(tracer):
    return asyncio.run(tracer.lock("ask", "awaiting"))

async def in_tasks(tracer):
    # All processors of the cluster: the second task gets them only where the first gives them up.
    everything = plainly.options(num_cpus=int(ray.cluster_resources()["CPU"]))
    return await asyncio.gather(everything.remote(tracer), everything.remote(tracer), awaiting.remote(tracer))

@ray.remote(num_cpus=0)
def fails(tracer):
    try:
        tracer.lock_sync("nothing")
    except LookupError as exc:
        return f"{type(exc).__name__}: {exc}"

@ray.remote(num_cpus=0)
def expires(tracer):
    try:
        tracer.lock_sync("ask", timeout=0.1)
    except TimeoutError as exc:
        return str(exc)

@ray.remote(num_cpus=0)
def goes_on(tracer, gate):
    async def work():
        asking = asyncio.create_task(tracer.lock("ask"))
        while not os.path.exists(gate):
            await asyncio.sleep(0.01)
        try:
            await asyncio.wait_for(asking, 0.01)
        except TimeoutError:
            return "went on"
    return asyncio.run(work())

async def wrongly(inputs, tracer):
    told = await asyncio.gather(fails.remote(tracer), expires.remote(tracer), goes_on.remote(tracer, inputs))
    while not os.path.exists(inputs + ".end"):
        await asyncio.sleep(0.01)
    return told

@ray.remote(num_cpus=0, max_concurrency=1000)
class Crowd:
    async def ask(self, tracer, number):
        try:
            return await asyncio.gather(*(tracer.lock("ask", place) for place in range(number)))
        except asyncio.CancelledError:
            return "ended"

async def crowd(inputs, tracer):
    crowd = Crowd.remote()
    asking = crowd.ask.remote(tracer, inputs)
    try:
        return len(await asking)
    except asyncio.CancelledError:
        await tracer.debug(str(await asking))
        raise

async def asks(tracer):
    await tracer.debug(str(os.getpid()))
    return await tracer.lock("ask")

async def hello():
    return "hello"
"""


@pytest.fixture(autouse=True)
def agent(engine: Engine) -> None:
    engine.module("locks_agent", AGENT)


async def test_remote_tasks_wait_without_their_processors_and_go_on_in_order(engine: Engine) -> None:
    fid = await engine.launch("locks_agent:in_tasks", locks=("ask",))
    lids = await open_locks(engine, fid, 3)
    locks = await told(engine, fid, EventKind.LOCK)
    assert sorted(lock["data"] for lock in locks) == ["awaiting", "plainly", "plainly"]
    for number, lid in enumerate(lids):
        await settle(engine, fid, lid, number)
    await engine.ended(fid)
    [final] = await engine.payloads(fid, EventKind.FINAL)
    assert sorted(final[final.index("[") :].count(f'{{"int": {number}}}') for number in range(3)) == [1, 1, 1]
    plain = {lock["lid"] for lock in locks if lock["data"] == "plainly"}
    story = [_part(event, plain) for event in await engine.events(fid)]
    assert story.count("answered") == 2
    assert story.index("in the task") < story.index("lock") < story.index("lease") < story.index("answered")


def _part(event: StoredEvent, lids: set[str]) -> str:
    """What an event has to do with some locks."""
    if event.kind in (EventKind.LOCK, EventKind.LEASE):
        return event.kind.value if json.loads(event.payload)["dict"]["lid"] in lids else ""
    return event.payload if event.kind == EventKind.DEBUG else ""


async def test_what_goes_wrong_with_a_lock_is_told_in_the_remote_task(engine: Engine, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    fid = await engine.launch("locks_agent:wrongly", str(gate), locks=("ask",))
    # Who goes on has its lock by then: else there is nothing to withdraw.
    await open_locks(engine, fid, 2)
    gate.touch()
    # Nobody waits for a withdrawal to arrive: a run that ended at once would close the lock before it.
    leases = await until(lambda: told(engine, fid, EventKind.LEASE), lambda leases: len(leases) == 2)
    Path(f"{gate}.end").touch()
    await engine.ended(fid)
    [final] = await engine.payloads(fid, EventKind.FINAL)
    assert "UnknownLock: The app has no @app.lock('nothing') handler. Its locks: ask." in final
    assert " expired: nobody answered 'ask' in time" in final
    assert "went on" in final
    assert sorted("withdrawn" if "withdrawn" in lease else "expired" for lease in leases) == ["expired", "withdrawn"]


async def test_a_crowd_of_remote_waits_holds_up_neither_answers_nor_a_cancel(engine: Engine) -> None:
    number = 200
    answered = await engine.launch("locks_agent:crowd", number)
    for lid in await open_locks(engine, answered, number):
        await settle(engine, answered, lid, "ok")
    await engine.ended(answered)
    assert await engine.payloads(answered, EventKind.FINAL) == ['{"int": 200}']

    cancelled = await engine.launch("locks_agent:crowd", number)
    await open_locks(engine, cancelled, number)
    assert await engine.mode.cancel(cancelled, "Ada")
    await engine.ended(cancelled)
    assert await engine.payloads(cancelled, EventKind.DEBUG) == ["ended"]
    assert await engine.payloads(cancelled, EventKind.ERROR) == ["killed by Ada"]


async def test_a_run_that_waits_for_a_lock_takes_nobodys_place(engine: Engine) -> None:
    pool = await engine.mode._connected()
    await pool.configure.remote(engine.settings.model_copy(update={"max_runs": 1}))
    asking = await engine.launch("locks_agent:asks")
    [lid] = await open_locks(engine, asking)

    others = [await engine.launch("locks_agent:hello") for _ in range(2)]
    for fid in others:
        assert (await engine.ended(fid)).state == ExecutionState.FINISHED
    assert (await engine.mode.figures())["awaiting"] == 1

    await settle(engine, asking, lid, "ok")
    assert (await engine.ended(asking)).state == ExecutionState.FINISHED
    await until(engine.mode.figures, lambda figures: figures["awaiting"] == 0)


@pytest.mark.fault
async def test_a_claim_outlives_the_pool(engine: Engine) -> None:
    fid = await engine.launch("locks_agent:asks")
    [lid] = await open_locks(engine, fid)
    pool = await engine.mode._connected()
    claim = await engine.mode.claim_lock(fid, lid)
    os.kill(await pool.pid.remote(), signal.SIGKILL)

    await engine.mode.settle_lock(fid, lid, claim.id, answer("ok"))

    assert (await engine.ended(fid)).state == ExecutionState.FINISHED
    assert [lease["result"] for lease in await told(engine, fid, EventKind.LEASE)] == ["ok"]


@pytest.mark.fault
async def test_an_answer_that_was_taken_is_so_when_asked_again_of_a_new_pool_after_the_runs_end(engine: Engine) -> None:
    fid = await engine.launch("locks_agent:asks")
    [lid] = await open_locks(engine, fid)
    claim = await engine.mode.claim_lock(fid, lid)
    await engine.mode.settle_lock(fid, lid, claim.id, answer("ok"))
    await engine.ended(fid)
    os.kill(await (await engine.mode._connected()).pid.remote(), signal.SIGKILL)

    await engine.mode.settle_lock(fid, lid, claim.id, answer("ok"))

    await refused(engine.mode.settle_lock(fid, lid, "another", answer("ok")), ExecutionNotFound)


@pytest.mark.fault
async def test_a_claim_that_waits_in_the_queue_outlives_the_pool(engine: Engine) -> None:
    fid = await engine.launch("locks_agent:asks")
    [lid] = await open_locks(engine, fid)
    pool = await engine.mode._connected()
    held = await engine.mode.claim_lock(fid, lid)
    queued = asyncio.create_task(engine.mode.claim_lock(fid, lid))
    await asyncio.wait({queued}, timeout=0.2)
    os.kill(await pool.pid.remote(), signal.SIGKILL)
    await engine.mode.settle_lock(fid, lid, held.id, None)

    async with asyncio.timeout(30.0):
        claim = await queued
    await engine.mode.settle_lock(fid, lid, claim.id, answer("ok"))
    assert (await engine.ended(fid)).state == ExecutionState.FINISHED


@pytest.mark.fault
async def test_a_pool_that_dies_knows_again_who_waits_and_hears_who_goes_on(engine: Engine) -> None:
    fid = await engine.launch("locks_agent:asks")
    [lid] = await open_locks(engine, fid)
    await until(engine.mode.figures, lambda figures: figures["awaiting"] == 1)
    pool = await engine.mode._connected()
    os.kill(await pool.pid.remote(), signal.SIGKILL)

    await until(engine.mode.figures, lambda figures: figures["awaiting"] == figures["running"] == 1)
    await settle(engine, fid, lid, "ok")
    await engine.ended(fid)
    await until(engine.mode.figures, lambda figures: figures["awaiting"] == figures["running"] == 0)


@pytest.mark.fault
async def test_a_lock_ends_with_its_process(engine: Engine) -> None:
    fid = await engine.launch("locks_agent:asks")
    [lid] = await open_locks(engine, fid)
    claim = await engine.mode.claim_lock(fid, lid)
    os.kill(int(await engine.first(fid, EventKind.DEBUG)), signal.SIGKILL)

    async def settled() -> None:
        while True:
            # Until the cluster knows that it's dead, it is one that doesn't answer.
            with contextlib.suppress(LaunchUnavailable):
                return await engine.mode.settle_lock(fid, lid, claim.id, answer("ok"))

    await refused(settled(), ExecutionNotFound)

    ended = await engine.ended(fid)
    assert (ended.state, ended.locks) == (ExecutionState.ERROR, ())
    await refused(engine.mode.lock(fid, lid), ExecutionNotFound)
