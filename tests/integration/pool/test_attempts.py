"""Durable runs through the pool: attempts are begun, found again and told how they ended; nothing ends them unasked."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from kodosumi.events import EventKind, ExecutionState, new_fid
from kodosumi.execution.direct import PoolRestarted
from kodosumi.runner.spec import Attempt, AttemptEnd, Retry
from tests.conditions import lives, until
from tests.engine import OWNER
from tests.integration.pool.attending import Attending
from tests.mode_contract import answer, open_locks, settle

AGENT = """
import asyncio, os

async def hello(tracer):
    return tracer.attempt

async def first_hangs(inputs, tracer):
    await tracer.debug(str(os.getpid()))
    if tracer.attempt == 1:
        number = 0
        while not os.path.exists(inputs):
            await tracer.result(number)
            number += 1
            await asyncio.sleep(0.01)
    return tracer.attempt

async def asks(inputs, tracer):
    await tracer.debug(str(os.getpid()))
    first = await tracer.lock("ask", {"of": inputs})
    return [first, await tracer.lock("ask", "again")] if inputs == "twice" else first

def raises(tracer):
    raise ValueError(f"attempt {tracer.attempt}")
"""


@pytest.fixture(autouse=True)
def agent(attending: Attending) -> None:
    attending.engine.module("attempts_agent", AGENT)


async def kill_process(attending: Attending, fid: str, attempt: int = 1) -> int:
    """Kills the process of an attempt, once it has told its id."""
    pids = await until(lambda: attending.engine.payloads(fid, EventKind.DEBUG), lambda told: len(told) >= attempt, 60.0)
    os.kill(int(pids[-1]), signal.SIGKILL)
    return int(pids[-1])


async def kill_pool(attending: Attending) -> None:
    os.kill(await (await attending.mode._connected()).pid.remote(), signal.SIGKILL)


async def pool_knows_that_it_waits(attending: Attending) -> None:
    """Returns when the process has told the pool of its open lock, which may be after it is stored."""
    await until(attending.mode.figures, lambda figures: figures["awaiting"] == 1)


async def test_without_trouble_a_durable_run_tells_what_any_run_tells(attending: Attending) -> None:
    plain = await attending.engine.launch("attempts_agent:hello")
    spec = await attending.announced("attempts_agent:hello")
    again = attending.mode.announce(spec)
    await again

    outcomes = await asyncio.gather(*(attending.mode.execute(spec) for _ in range(2)))

    assert [outcome.end for outcome in outcomes] == [AttemptEnd.OVER] * 2
    assert await attending.mode.attach(spec.fid, 1) == outcomes[0]
    stories = []
    for fid in (plain, spec.fid):
        await attending.engine.ended(fid)
        events = await attending.engine.events(fid)
        stories.append([(event.kind, event.payload) for event in events])
    assert stories[0] == stories[1]
    assert await attending.mode.attach(new_fid(), 1) is None


@pytest.mark.fault
async def test_a_process_that_dies_ends_its_attempt_and_not_the_run(attending: Attending) -> None:
    spec = await attending.announced("attempts_agent:first_hangs", "")
    held = attending.execute(spec)
    attached = asyncio.create_task(attending.mode.attach(spec.fid, 1))
    await kill_process(attending, spec.fid)

    outcome = await held
    assert outcome.end == AttemptEnd.DIED
    assert "the process of this run ended unexpectedly" in outcome.reason
    assert await attached in (outcome, None)  # None: it asked before the attempt was begun
    assert await attending.mode.attach(spec.fid, 1) == outcome
    assert await attending.mode.attach(spec.fid, 2) is None

    second = await attending.barrier(spec)
    assert (await attending.mode.execute(second)).end == AttemptEnd.OVER
    assert (await attending.mode.attach(spec.fid, 1)).end == AttemptEnd.CLOSED
    await attending.engine.ended(spec.fid)
    assert await attending.engine.payloads(spec.fid, EventKind.STATUS) == ["starting", "running", "running", "finished"]
    assert await attending.engine.payloads(spec.fid, EventKind.FINAL) == ['{"int": 2}']
    assert await attending.engine.payloads(spec.fid, EventKind.ERROR) == []


async def test_an_attempt_that_lives_is_ended_before_the_next_and_mixes_nothing_in(attending: Attending) -> None:
    spec = await attending.announced("attempts_agent:first_hangs", "")
    held = attending.execute(spec)
    pid = int(await attending.engine.first(spec.fid, EventKind.DEBUG))

    second = await attending.barrier(spec)
    assert (await attending.mode.execute(second)).end == AttemptEnd.OVER

    # The barrier shuts it out, which it may notice before it's killed for the second.
    assert (await held).end in (AttemptEnd.DIED, AttemptEnd.CLOSED)
    assert (await attending.mode.execute(spec)).end == AttemptEnd.CLOSED
    await until(lambda: not lives(pid))
    await attending.engine.ended(spec.fid)
    kinds = [event.kind for event in await attending.engine.events(spec.fid)]
    assert EventKind.RESULT not in kinds[kinds.index(EventKind.ATTEMPT) :]


@pytest.mark.fault
async def test_an_attempt_is_found_again_after_the_pools_death(attending: Attending) -> None:
    gate = attending.engine.folder / "found_again"
    spec = await attending.announced("attempts_agent:first_hangs", str(gate))
    held = attending.execute(spec)
    pid = await attending.engine.first(spec.fid, EventKind.DEBUG)
    await kill_pool(attending)
    with pytest.raises(PoolRestarted):
        await held

    attached = asyncio.create_task(until(lambda: attending.mode.attach(spec.fid, 1)))
    executed = asyncio.create_task(until(lambda: attending.mode.execute(spec)))
    await until(attending.mode.figures, lambda figures: figures["running"] == 1)
    gate.touch()

    assert [outcome.end for outcome in await asyncio.gather(attached, executed)] == [AttemptEnd.OVER] * 2
    await attending.engine.ended(spec.fid)
    assert await attending.engine.payloads(spec.fid, EventKind.DEBUG) == [pid]


async def test_what_user_code_raised_is_told_to_who_attends_with_the_locks_it_had(attending: Attending) -> None:
    spec = await attending.announced("attempts_agent:raises", retry=Retry(2))

    outcome = await attending.mode.execute(spec)

    assert (outcome.end, "ValueError: attempt 1" in outcome.reason) == (AttemptEnd.RAISED, True)
    second = await attending.barrier(spec, "ValueError")
    assert (await attending.mode.execute(second)).end == AttemptEnd.OVER
    await attending.engine.ended(spec.fid)
    [error] = await attending.engine.payloads(spec.fid, EventKind.ERROR)
    assert "ValueError: attempt 2" in error


@pytest.mark.fault
async def test_a_run_is_cancelled_and_ended_between_its_attempts(attending: Attending) -> None:
    specs = [await attending.announced("attempts_agent:first_hangs", "") for _ in range(2)]
    for spec in specs:
        held = attending.execute(spec)
        await kill_process(attending, spec.fid)
        await held
    cancelled, ended = specs

    assert await attending.mode.cancel(cancelled.fid, "Ada")
    assert await attending.mode.end(ended.fid, OWNER, "It was lost three times.")

    for spec, error in ((cancelled, "killed by Ada"), (ended, "It was lost three times.")):
        assert not await attending.mode.cancel(spec.fid, "Ada")
        assert not await attending.mode.end(spec.fid, OWNER, "again")
        second = replace(spec, attempt=Attempt(2))
        assert (await attending.mode.execute(second)).end == AttemptEnd.CLOSED
        assert (await attending.engine.ended(spec.fid)).state == ExecutionState.ERROR
        assert await attending.engine.payloads(spec.fid, EventKind.ERROR) == [error]


async def test_an_end_is_put_for_whoever_serves_it_or_nobody(attending: Attending) -> None:
    at_work = await attending.announced("attempts_agent:first_hangs", "")
    held = attending.execute(at_work)
    await attending.engine.first(at_work.fid, EventKind.DEBUG)
    unknown = new_fid()
    for fid in (at_work.fid, unknown):
        assert await attending.mode.end(fid, OWNER, "enough")
        assert not await attending.mode.end(fid, OWNER, "enough")
        assert (await attending.engine.ended(fid)).state == ExecutionState.ERROR
        assert await attending.engine.payloads(fid, EventKind.ERROR) == ["enough"]
    assert (await held).end == AttemptEnd.OVER


@pytest.mark.fault
async def test_a_lock_is_answered_while_no_process_lives_and_the_next_attempt_has_the_answer(
    attending: Attending,
) -> None:
    spec = await attending.announced("attempts_agent:asks", "once", locks=("ask",))
    held = attending.execute(spec)
    [lid] = await open_locks(attending.engine, spec.fid)
    await pool_knows_that_it_waits(attending)
    await kill_process(attending, spec.fid)
    await held

    assert (await attending.mode.lock(spec.fid, lid)).data == {"of": "once"}
    second = await attending.barrier(spec)
    assert [kept.answered for kept in second.attempt.kept] == [False]
    # After the worker has read what is stored, and before the attempt begins.
    await settle(attending.engine, spec.fid, lid, "yes")

    assert (await attending.mode.execute(second)).end == AttemptEnd.OVER
    await attending.engine.ended(spec.fid)
    assert await attending.engine.payloads(spec.fid, EventKind.FINAL) == ['{"str": "yes"}']
    assert len(await attending.told(spec.fid, EventKind.LOCK)) == 1
    assert [lease["result"] for lease in await attending.told(spec.fid, EventKind.LEASE)] == ["yes"]


@pytest.mark.fault
async def test_claims_outlive_the_process_and_what_keeps_its_locks(attending: Attending) -> None:
    spec = await attending.announced("attempts_agent:asks", "twice", locks=("ask",))
    held = attending.execute(spec)
    [lid] = await open_locks(attending.engine, spec.fid)
    of_process = await attending.mode.claim_lock(spec.fid, lid)
    await pool_knows_that_it_waits(attending)
    await kill_process(attending, spec.fid)
    await held
    of_pool = await attending.mode.claim_lock(spec.fid, lid)
    queued = asyncio.create_task(attending.mode.claim_lock(spec.fid, lid))
    assert not (await asyncio.wait({queued}, timeout=0.2))[0]

    second = await attending.barrier(spec)
    held = attending.execute(second)

    # The one that waited holds the lock in the new process; one that's gone is as good as ever, in its turn.
    claim = await queued
    late = asyncio.create_task(attending.mode.settle_lock(spec.fid, lid, of_process.id, answer("late")))
    assert not (await asyncio.wait({late}, timeout=0.2))[0]
    await attending.mode.settle_lock(spec.fid, lid, claim.id, None)
    await late
    with pytest.raises(Exception, match="released"):
        await attending.mode.settle_lock(spec.fid, lid, of_pool.id, answer("later"))
    lids = await open_locks(attending.engine, spec.fid, 2)
    await settle(attending.engine, spec.fid, lids[1], "second")
    assert (await held).end == AttemptEnd.OVER
    await attending.engine.ended(spec.fid)
    assert [lease["result"] for lease in await attending.told(spec.fid, EventKind.LEASE)] == ["late", "second"]


async def test_a_run_paused_before_it_begins_begins_when_it_is_resumed(attending: Attending) -> None:
    spec = await attending.announced("attempts_agent:hello")
    assert await attending.mode.pause(spec.fid, "Ada")
    assert await attending.mode.pause(spec.fid, "Ada")
    held = attending.execute(spec)
    await until(attending.mode.figures, lambda figures: figures["paused"] == 1)

    assert await attending.mode.resume(spec.fid, "Ada")
    assert (await held).end == AttemptEnd.OVER
    assert not await attending.mode.resume(spec.fid, "Ada")
    await attending.engine.ended(spec.fid)
    states = ["starting", "paused", "starting", "running", "finished"]
    assert await attending.engine.payloads(spec.fid, EventKind.STATUS) == states


@pytest.mark.fault
async def test_a_pause_holds_over_the_process_and_the_pool(attending: Attending) -> None:
    spec = await attending.announced("attempts_agent:first_hangs", "")
    held = attending.execute(spec)
    await attending.engine.first(spec.fid, EventKind.DEBUG)
    assert await attending.mode.pause(spec.fid, "Ada")
    await kill_process(attending, spec.fid)
    assert (await held).end == AttemptEnd.DIED
    await kill_pool(attending)

    second = await attending.barrier(spec)
    second = replace(second, attempt=replace(second.attempt, paused_by="Ada"))
    held = asyncio.create_task(until(lambda: attending.mode.execute(second)))
    await until(attending.mode.figures, lambda figures: figures["paused"] == 1)
    assert await attending.mode.resume(spec.fid, "Ada")

    assert (await held).end == AttemptEnd.OVER
    await attending.engine.ended(spec.fid)
    states = await attending.engine.payloads(spec.fid, EventKind.STATUS)
    assert states == ["starting", "running", "paused", "paused", "running", "running", "finished"]


@pytest.mark.fault
async def test_a_run_that_the_pool_has_forgotten_is_paused_and_resumed_in_its_owners_name(attending: Attending) -> None:
    gate = attending.engine.folder / "forgotten"
    spec = await attending.announced("attempts_agent:first_hangs", str(gate))
    held = attending.execute(spec)
    pid = int(await attending.engine.first(spec.fid, EventKind.DEBUG))
    await kill_pool(attending)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(PoolRestarted):
        await held
    assert await until(lambda: attending.mode.attach(spec.fid, 1), lambda outcome: outcome is None) is None

    assert not await attending.mode.pause(spec.fid, "Ada")
    assert await attending.mode.pause(spec.fid, "Ada", OWNER)
    assert await attending.mode.execute(spec, True) is None
    second = await attending.barrier(spec)
    held = attending.execute(second)
    await until(attending.mode.figures, lambda figures: figures["paused"] == 1)
    assert await attending.mode.resume(spec.fid, "Ada")

    assert (await held).end == AttemptEnd.OVER
    assert not await attending.mode.pause(spec.fid, "Ada", OWNER)
    await attending.engine.ended(spec.fid)
    states = ["starting", "running", "paused", "running", "running", "finished"]
    assert await attending.engine.payloads(spec.fid, EventKind.STATUS) == states


async def test_an_attempt_is_begun_by_a_second_call_only_if_it_is_known_that_the_first_did_not(
    attending: Attending,
) -> None:
    known = await attending.announced("attempts_agent:hello")
    unknown = replace(known, fid=new_fid())

    outcomes = await asyncio.gather(*(attending.mode.execute(known, True) for _ in range(2)))

    assert [outcome and outcome.end for outcome in outcomes] == [AttemptEnd.OVER] * 2
    assert await attending.mode.execute(unknown, True) is None
    await attending.engine.ended(known.fid)
    assert await attending.engine.payloads(known.fid, EventKind.FINAL) == ['{"int": 1}']


async def test_an_ended_run_that_the_pool_does_not_know_is_neither_paused_nor_resumed(attending: Attending) -> None:
    fid = new_fid()
    assert await attending.mode.end(fid, OWNER, "enough")

    assert not await attending.mode.pause(fid, "Ada", OWNER)
    assert not await attending.mode.resume(fid, "Ada", OWNER)

    await attending.engine.ended(fid)
    assert await attending.engine.payloads(fid, EventKind.STATUS) == ["error"]
