"""Runs through the pool, from launch to the store."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from kodosumi.events import EventKind, ExecutionState, new_fid
from kodosumi.runner.main import StaleEnvironment
from kodosumi.runner.process import RunnerProcess
from kodosumi.transport import connect_transport
from tests.conditions import until
from tests.engine import OWNER, Engine

AGENT = """
import asyncio, os, time

async def hello(inputs, tracer):
    await tracer.debug("hi", inputs["name"])
    print("printed")
    return {"hello": inputs["name"]}

async def pid(tracer):
    await tracer.debug(str(os.getpid()))
    return os.getpid()

async def burst(tracer):
    await tracer.debug(str(os.getpid()))
    number = 0
    while True:
        await tracer.result(number)
        number += 1

async def hold(inputs, tracer):
    await tracer.debug(str(os.getpid()))
    while not os.path.exists(inputs["gate"]):
        await asyncio.sleep(0.02)
    return inputs["number"]

def block(tracer):
    tracer.debug_sync(str(os.getpid()))
    time.sleep(60)

async def block_loop(tracer):
    await tracer.debug(str(os.getpid()))
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def agent(engine: Engine) -> None:
    engine.module("agent", AGENT)


async def test_a_run_tells_its_whole_story_in_the_published_order(engine: Engine) -> None:
    fid = await engine.launch("agent:hello", {"name": "Ada"})

    assert (await engine.ended(fid)).state == ExecutionState.FINISHED
    story = [(event.kind.value, event.payload) for event in await engine.events(fid)]
    assert story[0] == ("status", "starting")
    assert [kind for kind, _ in story[1:3]] == ["inputs", "meta"]
    assert story[3:] == [
        ("status", "running"),
        ("debug", "hi\nAda"),
        ("stdout", "printed"),
        ("final", '{"dict": {"hello": "Ada"}}'),
        ("status", "finished"),
    ]


async def test_one_process_serves_one_run_after_the_other(engine: Engine) -> None:
    pids: list[str] = []

    async def served() -> list[str]:
        fid = await engine.launch("agent:pid")
        await engine.ended(fid)
        pids.extend(await engine.payloads(fid, EventKind.FINAL))
        return pids

    # Not always the next run: a process is free a moment after its run's end is shown, and a spare one may be ready.
    await until(served, lambda pids: len(set(pids)) < len(pids))


async def test_code_that_changed_on_disk_is_run_as_it_is_now(engine: Engine) -> None:
    await engine.ended(await engine.launch("agent:hello", {"name": "Ada"}))
    engine.module("agent", "def hello():\n    return 'a new answer, longer than before'\n")

    fid = await engine.launch("agent:hello")

    await engine.ended(fid)
    assert await engine.payloads(fid, EventKind.FINAL) == ['{"str": "a new answer, longer than before"}']


@pytest.mark.fault
async def test_promise_3_a_killed_runner_ends_its_run_and_keeps_what_was_told(engine: Engine) -> None:
    fid = await engine.launch("agent:burst")
    pid = int(await engine.first(fid, EventKind.DEBUG))

    os.kill(pid, signal.SIGKILL)

    assert (await engine.ended(fid)).state == ExecutionState.ERROR
    numbers = await engine.payloads(fid, EventKind.RESULT)
    assert numbers == [f'{{"int": {number}}}' for number in range(len(numbers))]
    assert "RunnerDied" in (await engine.payloads(fid, EventKind.ERROR))[-1]
    assert (await engine.events(fid))[-1].payload == "error"


@pytest.mark.parametrize("entry_point", ["agent:block", "agent:block_loop"])
async def test_promise_6_a_run_that_blocks_is_cancelled_all_the_same(engine: Engine, entry_point: str) -> None:
    fid = await engine.launch(entry_point)
    await engine.first(fid, EventKind.DEBUG)

    assert await engine.mode.cancel(fid, "Ada")

    await engine.ended(fid)
    assert await engine.payloads(fid, EventKind.ERROR) == ["killed by Ada"]


async def test_runs_above_the_limit_wait_fairly_and_can_be_cancelled_while_they_wait(engine: Engine) -> None:
    limited = engine.settings.model_copy(update={"max_runs": 1})
    pool = await engine.mode._connected()
    await pool.configure.remote(limited)
    gate = engine.folder / "open"
    try:
        held = await engine.launch("agent:hold", {"gate": str(gate), "number": 0}, user="ann")
        await engine.first(held, EventKind.DEBUG)
        ann, ann2 = [await engine.launch("agent:pid", user="ann") for _ in range(2)]
        bob = await engine.launch("agent:pid", user="bob")

        assert await engine.mode.places() == {ann: 1, bob: 2, ann2: 3}

        assert await engine.mode.cancel(ann, "Ada")
        assert await engine.mode.places() == {ann2: 1, bob: 2}
        gate.touch()
        ends = await asyncio.gather(*(engine.ended(fid) for fid in (held, ann, ann2, bob)))
    finally:
        gate.touch()
        await pool.configure.remote(engine.settings)
    assert [end.state for end in ends] == [
        ExecutionState.FINISHED,
        ExecutionState.ERROR,
        ExecutionState.FINISHED,
        ExecutionState.FINISHED,
    ]
    assert await engine.payloads(ann, EventKind.ERROR) == ["killed by Ada"]


@pytest.mark.fault
async def test_a_pool_that_dies_finds_its_runs_again_and_what_waited_is_ended(engine: Engine) -> None:
    limited = engine.settings.model_copy(update={"max_runs": 1})
    pool = await engine.mode._connected()
    await pool.configure.remote(limited)
    gate = engine.folder / "open"
    running = await engine.launch("agent:hold", {"gate": str(gate), "number": 7})
    await engine.first(running, EventKind.DEBUG)
    waiting = await engine.launch("agent:pid")

    os.kill(await pool.pid.remote(), signal.SIGKILL)

    assert (await engine.ended(waiting)).state == ExecutionState.ERROR
    assert (await engine.store.execution(running)).state == ExecutionState.RUNNING
    gate.touch()
    assert (await engine.ended(running)).state == ExecutionState.FINISHED
    # The pool goes on with what it was configured with, and so would all further tests.
    await until(engine.mode.configure, lambda _: True)
    assert await engine.payloads(running, EventKind.FINAL) == ['{"int": 7}']


async def test_promise_5_two_hundred_launches_at_once_all_finish(engine: Engine) -> None:
    fids = await asyncio.gather(*(engine.launch("agent:hello", {"name": str(n)}) for n in range(200)))

    ends = await asyncio.gather(*(engine.ended(fid, 120.0) for fid in fids))

    assert {end.state for end in ends} == {ExecutionState.FINISHED}
    for number, fid in enumerate(fids):
        assert await engine.payloads(fid, EventKind.FINAL) == [f'{{"dict": {{"hello": "{number}"}}}}']


async def test_an_unknown_entry_point_ends_with_an_error_that_names_it(engine: Engine) -> None:
    fid = await engine.launch("agent:nothing")

    assert (await engine.ended(fid)).state == ExecutionState.ERROR
    assert "nothing" in (await engine.payloads(fid, EventKind.ERROR))[0]


async def test_a_process_started_ahead_has_imported_what_the_next_run_needs(engine: Engine) -> None:
    engine.module("slow", "import os\nimported_by = os.getpid()\n\ndef tell():\n    return 'told'\n")
    await engine.ended(await engine.launch("slow:tell"))
    environment = engine.spec("slow:tell").environment

    process = await RunnerProcess.start(environment, ["slow:tell", "slow:nothing", "missing:nothing"])

    try:
        assert await process.current() is None
        engine.module("slow", "def tell():\n    return 'told otherwise, and longer'\n")
        with pytest.raises(StaleEnvironment):
            producer = connect_transport(engine.settings).producer(new_fid(), OWNER)
            await process.run(engine.spec("slow:tell"), producer.ticket)
    finally:
        process.end()
