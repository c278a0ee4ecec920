"""What the workflow decides: attempts, their reasons, pauses, cancels, and launches that nobody confirmed."""

from __future__ import annotations

import base64
import json

import pytest

from kodosumi.error import LaunchUnavailable
from kodosumi.events import EventKind, ExecutionState, new_fid
from kodosumi.runner.spec import Retry
from tests.conditions import until
from tests.durable import Durable
from tests.scripted_pool import dies, dies_when_told, fails, finishes, raises, waits

STATUS = EventKind.STATUS


async def test_a_run_without_trouble_tells_nothing_of_attempts(durable: Durable) -> None:
    async with durable.working():
        fid = await durable.launch("agent:run")
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED
        assert await durable.closed(fid) == "COMPLETED"
    kinds = [event.kind.value for event in await durable.events(fid)]
    assert kinds == ["status", "inputs", "meta", "status", "status"]
    assert durable.pool.attempts[fid, 1].spec.durable


async def test_a_run_that_failed_is_no_completed_workflow(durable: Durable) -> None:
    durable.pool.plays = [fails]
    async with durable.working():
        fid = await durable.launch("agent:run")
        assert await durable.closed(fid) == "FAILED"


async def test_an_exception_is_tried_again_as_often_as_the_author_said(durable: Durable) -> None:
    durable.pool.plays = [raises, raises, fails]
    async with durable.working():
        fid = await durable.launch("agent:run", retry=Retry(max_attempts=3, delay=0.01))
        await durable.ended(fid)
        assert await durable.closed(fid) == "FAILED"
    told = await durable.told_attempts(fid)
    assert [attempt["number"] for attempt in told] == [2, 3]
    assert all("agent.Busy: the token is swordfish" in attempt["reason"] for attempt in told)
    assert [durable.pool.attempts[fid, number].spec.attempt.last for number in (1, 2, 3)] == [False, False, True]
    limits = [durable.pool.attempts[fid, number].spec.attempt.time_limit_s for number in (1, 2, 3)]
    assert limits == [3600.0, 3599.5, 3599.0]


async def test_three_lost_attempts_end_a_run(durable: Durable) -> None:
    durable.pool.plays = [dies, dies, dies]
    async with durable.working():
        fid = await durable.launch("agent:run")
        assert (await durable.ended(fid)).state == ExecutionState.ERROR
        assert await durable.closed(fid) == "FAILED"
    assert [attempt["number"] for attempt in await durable.told_attempts(fid)] == [2, 3]
    [error] = await durable.payloads(fid, EventKind.ERROR)
    assert error.startswith("RunnerDied: the process of this run ended unexpectedly.")


async def test_lost_attempts_count_among_the_calls_that_the_author_allowed(durable: Durable) -> None:
    durable.pool.plays = [dies, raises, dies, finishes]
    async with durable.working():
        fid = await durable.launch("agent:run", retry=Retry(max_attempts=3, delay=0.01))
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED
    assert [attempt["number"] for attempt in await durable.told_attempts(fid)] == [2, 3, 4]
    lasts = [durable.pool.attempts[fid, number].spec.attempt.last for number in (1, 2, 3, 4)]
    assert lasts == [False, False, True, True]


async def test_running_time_of_all_attempts_is_limited(durable: Durable) -> None:
    durable.settings.temporal_execution_timeout = 0.5
    durable.pool.plays = [raises]
    async with durable.working():
        fid = await durable.launch("agent:run", retry=Retry(max_attempts=9, delay=0.01))
        await durable.ended(fid)
    [error] = await durable.payloads(fid, EventKind.ERROR)
    assert error == (
        "TimeLimitExceeded: the run took longer than 0.5 s of running time (KODO_TEMPORAL_EXECUTION_TIMEOUT)"
    )


async def test_history_holds_no_inputs_no_answers_and_no_texts_of_errors(durable: Durable) -> None:
    durable.pool.plays = [raises]
    async with durable.working():
        fid = await durable.launch("agent:run", "a secret input", retry=Retry(delay=0.01))
        await durable.closed(fid)
    text = _all_text(json.loads(await durable.history(fid)))
    assert "agent.Busy" in text
    assert "swordfish" not in text
    assert "secret" not in text


def _all_text(value: object) -> str:
    """All that a history says, its payloads decoded."""
    if isinstance(value, dict):
        data = value.get("data")
        plain = base64.b64decode(data).decode(errors="replace") if isinstance(data, str) else ""
        return plain + "".join(_all_text(part) for part in value.values())
    return "".join(map(_all_text, value)) if isinstance(value, list) else str(value)


async def test_a_pause_survives_the_attempt(durable: Durable) -> None:
    durable.pool.plays = [dies_when_told, waits]
    async with durable.working():
        fid = await durable.launch("agent:run")
        first = await durable.attempt(fid)
        assert await durable.mode.pause(fid, "Ada")
        assert await durable.mode.pause(fid, "Bob")
        handle = await durable.workflow(fid)
        assert await handle.query("status") == {
            "state": "paused",
            "attempt": 1,
            "paused_by": "Ada",
            "cancelled_by": None,
        }
        first.go.set()
        second = await durable.attempt(fid, 2)
        assert second.spec.attempt.paused_by == "Ada"
        assert await durable.mode.resume(fid, "Ada")
        second.go.set()
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED


async def test_a_pause_between_attempts_is_the_next_ones(durable: Durable) -> None:
    durable.pool.plays = [raises, waits]
    async with durable.working():
        # Long enough for the pause to come between them, however slow it is.
        fid = await durable.launch("agent:run", retry=Retry(max_attempts=2, delay=8.0))
        handle = await durable.workflow(fid)
        await until(lambda: handle.query("status"), lambda status: status["state"] == "waiting")
        assert await durable.mode.pause(fid, "Ada")
        # Nobody serves it; it's shown all the same.
        await until(lambda: durable.payloads(fid, STATUS), lambda payloads: payloads[-1] == "paused")
        second = await durable.attempt(fid, 2)
        assert second.spec.attempt.paused_by == "Ada"
        assert await durable.mode.resume(fid, "Ada")
        second.go.set()
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED


async def test_a_signal_from_elsewhere_reaches_the_run(durable: Durable) -> None:
    durable.pool.plays = [waits]
    async with durable.working():
        fid = await durable.launch("agent:run")
        attempt = await durable.attempt(fid)
        handle = await durable.workflow(fid)
        await handle.signal("pause", "Eve" * 1_000)
        await until(lambda: durable.payloads(fid, STATUS), lambda payloads: payloads[-1] == "paused")
        await handle.signal("resume")
        await until(lambda: durable.payloads(fid, STATUS), lambda payloads: payloads[-1] == "running")
        attempt.go.set()
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED
    assert await durable.payloads(fid, STATUS) == ["starting", "running", "paused", "running", "finished"]


async def test_a_cancel_is_not_retried(durable: Durable) -> None:
    durable.pool.plays = [waits]
    async with durable.working():
        fid = await durable.launch("agent:run", retry=Retry())
        await durable.attempt(fid)
        assert await durable.mode.cancel(fid, "Ada")
        assert (await durable.ended(fid)).state == ExecutionState.ERROR
        assert await durable.closed(fid) == "FAILED"
        assert not await durable.mode.cancel(fid, "Ada")
    assert await durable.payloads(fid, EventKind.ERROR) == ["killed by Ada"]
    assert list(durable.pool.attempts) == [(fid, 1)]


async def test_a_cancel_between_attempts_ends_the_run_at_once(durable: Durable) -> None:
    durable.pool.plays = [raises]
    async with durable.working():
        fid = await durable.launch("agent:run", retry=Retry(delay=60.0))
        handle = await durable.workflow(fid)
        await until(lambda: handle.query("status"), lambda status: status["state"] == "waiting")
        assert await durable.mode.known([fid]) == {fid}
        assert await durable.mode.cancel(fid, "Ada")
        assert (await durable.ended(fid)).state == ExecutionState.ERROR
        await durable.closed(fid)
        assert await durable.mode.known([fid]) == frozenset()
    assert await durable.payloads(fid, EventKind.ERROR) == ["killed by Ada"]
    assert list(durable.pool.attempts) == [(fid, 1)]


async def test_a_workflow_cancelled_in_temporal_cancels_its_run(durable: Durable) -> None:
    durable.pool.plays = [waits]
    async with durable.working():
        fid = await durable.launch("agent:run")
        await durable.attempt(fid)
        await (await durable.workflow(fid)).cancel()
        await durable.ended(fid)
        assert await durable.closed(fid) == "CANCELED"
    assert await durable.payloads(fid, EventKind.ERROR) == ["killed by temporal"]


async def test_a_cancel_while_no_worker_lives_ends_the_run(durable: Durable) -> None:
    fid = await durable.launch("agent:run")
    assert await durable.mode.cancel(fid, "Ada")
    assert (await durable.ended(fid)).state == ExecutionState.ERROR
    async with durable.working():
        await durable.closed(fid)
    assert await durable.payloads(fid, STATUS) == ["starting", "error"]
    assert durable.pool.attempts == {}


async def test_a_launch_that_cannot_be_announced_leaves_nothing(durable: Durable) -> None:
    durable.pool.away = LaunchUnavailable("the pool is away")
    fid = new_fid()
    with pytest.raises(LaunchUnavailable, match="the pool is away"):
        await durable.launch("agent:run", fid=fid)
    durable.pool.away = None
    assert await durable.closed(fid) == "TERMINATED"
    assert await durable.mode.known([fid]) == frozenset()
    async with durable.working():
        await durable.launch("agent:run", fid=fid)
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED


async def test_a_launch_asked_for_again_is_the_same_run(durable: Durable) -> None:
    async with durable.working():
        fid = await durable.launch("agent:run")
        await durable.launch("agent:run", fid=fid)
        await durable.ended(fid)
        await durable.closed(fid)
        await durable.launch("agent:run", fid=fid)
    assert await durable.payloads(fid, STATUS) == ["starting", "running", "finished"]
    assert list(durable.pool.attempts) == [(fid, 1)]
