"""What a worker survives: its own end, Temporal's, the pool's; and what the next attempt takes over."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kodosumi.error import AttemptOver, ConfigurationError, LaunchUnavailable
from kodosumi.events import EventKind, ExecutionState, new_fid
from kodosumi.runner.spec import AttemptEnd, AttemptOutcome, Retry
from tests.conditions import until
from tests.durable import Durable
from tests.scripted_pool import Attempt, dies_when_told, raises, waits
from tests.servers.server import free_port
from tests.servers.temporal import TemporalServer


@pytest.fixture
async def lasting(tmp_path: Path) -> AsyncIterator[tuple[TemporalServer, Durable]]:
    """A Temporal of the test's own that keeps its state, and durable runs over it."""
    with TemporalServer(lasting=True) as server:
        durable = Durable(server.address, tmp_path)
        async with durable.spooling():
            yield server, durable


async def asks_and_dies(attempt: Attempt) -> AttemptOutcome:
    """Opens three locks; one is answered, one expires; then its process dies."""
    await attempt.put(EventKind.STATUS, ExecutionState.RUNNING)
    for lid in ("one", "two", "three"):
        lock = {"lid": lid, "name": "ask", "data": {"q": lid}, "expires": 9e9, "assignee": ["bob"], "four_eyes": True}
        await attempt.put(EventKind.LOCK, json.dumps({"dict": lock}))
    lease = {"lid": "two", "name": "ask", "result": {"ok": True}, "by": "bob", "at": 1.0}
    await attempt.put(EventKind.LEASE, json.dumps({"dict": lease}))
    await attempt.put(EventKind.LEASE, json.dumps({"dict": {"lid": "three", "result": None, "expired": True}}))
    return AttemptOutcome(AttemptEnd.DIED, "RunnerDied: gone.")


async def test_a_worker_that_stops_leaves_its_runs_to_the_next_one_at_once(durable: Durable) -> None:
    durable.pool.plays = [waits]
    async with durable.working():
        fid = await durable.launch("agent:run")
        attempt = await durable.attempt(fid)
    async with durable.working():
        handle = await durable.workflow(fid)

        async def held() -> Any:
            return (await handle.describe()).raw_description.pending_activities[0]

        # The next worker holds it, and nobody had to miss a heartbeat first.
        again = await until(held, lambda held: held.attempt == 2, 60.0)
        assert not again.last_failure.HasField("timeout_failure_info"), again
        attempt.go.set()
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED
        assert await durable.closed(fid) == "COMPLETED"
    assert list(durable.pool.attempts) == [(fid, 1)]


async def test_an_end_while_no_worker_lived_is_found_in_the_store(durable: Durable) -> None:
    durable.pool.plays = [waits]
    async with durable.working():
        fid = await durable.launch("agent:run")
        attempt = await durable.attempt(fid)
    attempt.go.set()
    await durable.ended(fid)
    del durable.pool.attempts[fid, 1]
    async with durable.working():
        assert await durable.closed(fid) == "COMPLETED"
    assert durable.pool.attempts == {}


async def test_an_attempt_that_nobody_knows_any_more_was_lost(durable: Durable) -> None:
    durable.pool.plays = [waits]
    async with durable.working():
        fid = await durable.launch("agent:run")
        await durable.attempt(fid)
    durable.pool.attempts.pop((fid, 1)).task.cancel()  # type: ignore[union-attr]
    durable.pool.announced.clear()
    async with durable.working():
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED
    assert await durable.told_attempts(fid) == [{"number": 2, "reason": "Its process was lost."}]


async def test_a_call_that_never_reached_the_pool_costs_no_attempt(durable: Durable) -> None:
    durable.pool.lost_calls = 2
    async with durable.working():
        fid = await durable.launch("agent:run")
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED
    assert await durable.told_attempts(fid) == []
    assert list(durable.pool.attempts) == [(fid, 1)]


async def test_a_pool_that_is_away_loses_no_attempt(durable: Durable) -> None:
    fid = await durable.launch("agent:run")
    durable.pool.away = LaunchUnavailable("the cluster is away")
    async with durable.working():
        handle = await durable.workflow(fid)
        await until(handle.describe, lambda run: run.raw_description.pending_activities)
        durable.pool.away = None
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED
    assert await durable.told_attempts(fid) == []


async def test_a_worker_that_stops_before_it_reached_the_pool_loses_no_attempt(durable: Durable) -> None:
    fid = await durable.launch("agent:run")
    handle = await durable.workflow(fid)
    durable.pool.away = LaunchUnavailable("the cluster is away")
    async with durable.working():
        await until(handle.describe, lambda run: run.raw_description.pending_activities)
    durable.pool.away = None
    async with durable.working():
        assert (await durable.ended(fid)).state == ExecutionState.FINISHED
    assert await durable.told_attempts(fid) == []
    assert list(durable.pool.attempts) == [(fid, 1)]


async def test_the_next_attempt_gets_the_locks_there_were(durable: Durable) -> None:
    durable.pool.plays = [asks_and_dies, waits]
    async with durable.working():
        fid = await durable.launch("agent:run")
        second = await durable.attempt(fid, 2)
        second.go.set()
        await durable.ended(fid)
    one, two = second.spec.attempt.kept
    assert (one.lid, one.data, one.answered, one.assignee, one.four_eyes) == (
        "one",
        {"q": "one"},
        False,
        ("bob",),
        True,
    )
    assert (two.lid, two.answered, two.result) == ("two", True, {"ok": True})


async def test_nothing_of_an_earlier_attempt_follows_the_next_ones_event(durable: Durable) -> None:
    durable.pool.plays = [dies_when_told, waits]
    async with durable.working():
        fid = await durable.launch("agent:run")
        first = await durable.attempt(fid)
        first.go.set()
        second = await durable.attempt(fid, 2)
        with pytest.raises(AttemptOver):
            await first.put(EventKind.DEBUG, "late")
        second.go.set()
        await durable.ended(fid)
    kinds = [event.kind.value for event in await durable.events(fid)]
    assert kinds == ["status", "inputs", "meta", "status", "attempt", "status", "status"]


async def test_what_a_run_was_launched_with_is_kept_until_its_end(durable: Durable) -> None:
    durable.pool.plays = [waits]
    async with durable.working():
        fid = await durable.launch("agent:run", "x" * 1_000_000)
        attempt = await durable.attempt(fid)
        assert len(await durable.store.launch(fid)) > 1_000_000
        attempt.go.set()
        await durable.closed(fid)
    with pytest.raises(KeyError):
        await durable.store.launch(fid)


async def test_a_lost_launch_ends_its_run_and_says_why(durable: Durable) -> None:
    fid = await durable.launch("agent:run")
    await durable.store.drop_launch(fid)
    async with durable.working():
        await durable.ended(fid)
    [error] = await durable.payloads(fid, EventKind.ERROR)
    assert error.startswith("LaunchLost: what this run was launched with isn't in the worker's store.")


async def test_without_temporal_nothing_is_started(durable: Durable) -> None:
    durable.settings.temporal_host = f"127.0.0.1:{free_port()}"
    fid = new_fid()
    with pytest.raises(
        LaunchUnavailable, match=r"Temporal at .* cannot be used now: nothing answers there\. Try again"
    ):
        await durable.launch("agent:run", fid=fid)
    assert (await durable.transport.status()).waiting_events == 0
    with pytest.raises(KeyError):
        await durable.store.launch(fid)
    with pytest.raises(LaunchUnavailable):
        await durable.mode.known([fid])
    with pytest.raises(LaunchUnavailable):
        await durable.mode.cancel(fid, "Ada")


async def test_a_cancel_reaches_a_living_run_without_temporal(lasting: tuple[TemporalServer, Durable]) -> None:
    server, durable = lasting
    durable.pool.plays = [waits]
    async with durable.working():
        fid = await durable.launch("agent:run", retry=Retry())
        await durable.attempt(fid)
        server.kill()
        assert await durable.mode.cancel(fid, "Ada")
        assert (await durable.ended(fid)).state == ExecutionState.ERROR
        server.start()
        assert await durable.closed(fid) == "FAILED"
    assert list(durable.pool.attempts) == [(fid, 1)]


async def test_runs_go_on_while_temporal_is_away(lasting: tuple[TemporalServer, Durable]) -> None:
    server, durable = lasting
    durable.pool.plays = [waits, raises]
    async with durable.working():
        held = await durable.launch("agent:run")
        attempt = await durable.attempt(held)
        retried = await durable.launch("agent:run", retry=Retry(delay=1.0))
        await durable.attempt(retried)
        server.kill()
        attempt.go.set()
        assert (await durable.ended(held)).state == ExecutionState.FINISHED
        server.start()
        assert (await durable.ended(retried)).state == ExecutionState.FINISHED
        assert await durable.closed(held) == "COMPLETED"
    assert [attempt["number"] for attempt in await durable.told_attempts(retried)] == [2]


async def test_runs_are_found_in_temporal_by_what_they_are(durable: Durable) -> None:
    durable.pool.plays = [waits]
    async with durable.working():
        fid = await until(lambda: durable.launch("agent:run"))

        async def found() -> list[str]:
            client = durable.mode._client
            assert client is not None
            return [run.id async for run in client.list_workflows(f"KodoFid = '{fid}' AND KodoFlow = 'agent:run'")]

        assert await until(found) == [f"kodo-{fid}"]
        await durable.mode.cancel(fid, "Ada")


async def test_fifty_runs_at_once_on_one_worker(durable: Durable) -> None:
    durable.pool.plays = [waits] * 50
    async with durable.working():
        fids = [await durable.launch("agent:run") for _ in range(50)]
        for fid in fids:
            await durable.attempt(fid)
        for fid in fids:
            durable.pool.attempts[fid, 1].go.set()
        for fid in fids:
            assert (await durable.ended(fid)).state == ExecutionState.FINISHED


async def test_a_namespace_that_does_not_exist_stops_the_worker(durable: Durable) -> None:
    durable.settings.temporal_namespace = uuid.uuid4().hex
    with pytest.raises(ConfigurationError, match=r"KODO_TEMPORAL_NAMESPACE=.* no such namespace"):
        await durable.worker().run()
