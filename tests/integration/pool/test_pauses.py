"""Pauses and further attempts on a cluster: places, processes and the pool's death."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from kodosumi.events import EventKind, ExecutionState
from kodosumi.runner.spec import Retry
from tests.conditions import until
from tests.engine import Engine
from tests.mode_contract import open_locks, settle

AGENT = """
import asyncio, contextlib, os, threading, time

async def hello(tracer):
    return os.getpid()

async def steps(inputs, tracer):
    await tracer.debug("ready")
    while not os.path.exists(inputs):
        await asyncio.sleep(0.01)
    await tracer.debug("done")

async def fails_once(inputs, tracer):
    await tracer.debug(f"attempt {tracer.attempt}")
    while not os.path.exists(inputs):
        await asyncio.sleep(0.01)
    if tracer.attempt == 1:
        raise ValueError("not yet")
    return "done"

def asks_and_fails(inputs, tracer):
    # In a thread of its own: a task would withdraw its lock when its loop ends.
    threading.Thread(target=lambda: suppressed(tracer), daemon=True).start()
    while not os.path.exists(inputs):
        time.sleep(0.01)
    raise ValueError("not yet")

def suppressed(tracer):
    with contextlib.suppress(asyncio.CancelledError):
        tracer.lock_sync("ask")
"""


@pytest.fixture(autouse=True)
def agent(request: pytest.FixtureRequest) -> None:
    engine = request.getfixturevalue("limited" if "limited" in request.fixturenames else "shared")
    engine.module("pauses_agent", AGENT)


async def kill_pool(engine: Engine) -> None:
    os.kill(await (await engine.mode._connected()).pid.remote(), signal.SIGKILL)


async def test_a_paused_run_takes_nobodys_place(limited: Engine) -> None:
    gate = limited.folder / "nobodys_place"
    paused = await limited.launch("pauses_agent:steps", str(gate))
    await limited.first(paused, EventKind.DEBUG)
    other = await limited.launch("pauses_agent:hello")
    assert await limited.mode.places() == {other: 1}

    assert await limited.mode.pause(paused, "Ada")

    assert (await limited.ended(other)).state == ExecutionState.FINISHED
    assert (await limited.mode.figures())["paused"] == 1
    gate.touch()
    assert await limited.mode.resume(paused, "Ada")
    assert (await limited.ended(paused)).state == ExecutionState.FINISHED
    assert (await limited.mode.figures())["paused"] == 0


async def test_a_run_paused_before_its_turn_lets_others_go_first(limited: Engine) -> None:
    gate = limited.folder / "before_its_turn"
    first = await limited.launch("pauses_agent:steps", str(gate))
    await limited.first(first, EventKind.DEBUG)
    paused, cancelled, last = [await limited.launch("pauses_agent:hello") for _ in range(3)]
    for fid in (paused, cancelled):
        assert await limited.mode.pause(fid, "Ada")
        assert await limited.mode.pause(fid, "Bob")
    assert await limited.mode.places() == {last: 1}
    assert await limited.mode.known([paused, cancelled]) == {paused, cancelled}

    gate.touch()
    await limited.ended(last)
    await until(lambda: limited.store.execution(paused), lambda run: run.state == ExecutionState.PAUSED)
    assert await limited.mode.cancel(cancelled, "Ada")
    assert await limited.mode.resume(paused, "Ada")

    assert (await limited.ended(paused)).state == ExecutionState.FINISHED
    assert await limited.payloads(paused, EventKind.STATUS) == ["starting", "paused", "starting", "running", "finished"]
    await limited.ended(cancelled)
    assert await limited.payloads(cancelled, EventKind.STATUS) == ["starting", "paused", "error"]


@pytest.mark.fault
async def test_a_pool_that_dies_knows_again_who_is_paused(shared: Engine) -> None:
    gate = shared.folder / "knows_again"
    fid = await shared.launch("pauses_agent:steps", str(gate))
    await shared.first(fid, EventKind.DEBUG)
    assert await shared.mode.pause(fid, "Ada")
    gate.touch()
    await kill_pool(shared)

    await until(shared.mode.figures, lambda figures: figures["paused"] == figures["running"] == 1)
    assert await shared.mode.resume(fid, "Ada")
    assert (await shared.ended(fid)).state == ExecutionState.FINISHED
    assert await shared.payloads(fid, EventKind.DEBUG) == ["ready", "done"]


@pytest.mark.fault
async def test_a_pool_that_dies_calls_code_again_that_raises_afterwards(shared: Engine) -> None:
    gate = shared.folder / "raises_afterwards"
    fid = await shared.launch("pauses_agent:fails_once", str(gate), retry=Retry(2, delay=0.05))
    await shared.first(fid, EventKind.DEBUG)
    await kill_pool(shared)
    await until(shared.mode.figures, lambda figures: figures["running"] == 1)
    gate.touch()

    assert (await shared.ended(fid)).state == ExecutionState.FINISHED
    assert await shared.payloads(fid, EventKind.DEBUG) == ["attempt 1", "attempt 2"]


async def test_a_lock_left_open_is_answered_before_the_next_attempt(shared: Engine) -> None:
    gate = shared.folder / "left_open"
    fid = await shared.launch("pauses_agent:asks_and_fails", str(gate), retry=Retry(2, delay=60.0))
    [lid] = await open_locks(shared, fid)
    gate.touch()
    # Its process has left it.
    await until(shared.mode.figures, lambda figures: figures["busy_processes"] == 0)
    assert (await shared.mode.lock(fid, lid)).lid == lid
    first = await shared.mode.claim_lock(fid, lid)
    second = asyncio.create_task(shared.mode.claim_lock(fid, lid))
    await shared.mode.settle_lock(fid, lid, first.id, None)
    await shared.mode.settle_lock(fid, lid, (await second).id, None)
    await settle(shared, fid, lid, "ok")
    assert (await shared.mode.known([fid])) == {fid}
    assert await shared.mode.cancel(fid, "Ada")
    await shared.ended(fid)
    assert len(await shared.payloads(fid, EventKind.LEASE)) == 1
