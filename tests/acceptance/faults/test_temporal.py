"""Mode ``temporal``: parts are away for a while, or die together, and a durable run is steered meanwhile."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from kodosumi.cluster import Head
from kodosumi.config import Settings
from kodosumi.transport.redis.names import Names
from kodosumi.workflows import HEARTBEAT_TIMEOUT
from tests.acceptance.faults.durable import (
    Works,
    answer_when_open,
    attempts_shown,
    by_attempt,
    check_goes_on_to_its_end,
    check_steps,
    dripping,
    ended,
    ended_when_called_again,
    kill_runner,
    notes,
    stepping,
)
from tests.acceptance.faults.plant import actor, numbers, texts, wait_for
from tests.acceptance.people import answer, open_locks

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where user code notes that it was called."""
    return tmp_path / "notes"


# Temporal ------------------------------------------------------------------------------------------------------------


def test_a_launch_without_temporal_is_refused_and_nothing_is_left_of_it(durable: Works, path: Path, gate: Path) -> None:
    plant = durable.plant
    plant.stream(plant.launch("count", n=1))
    wait_for(lambda: launches(durable), lambda kept: kept == 0)
    executions = counted(durable, "executions")
    durable.temporal.kill()

    refused = plant.ask("noted_drip", notes=str(path), gate=str(gate))

    assert refused.status_code == 503
    said = f"Temporal at {durable.temporal.address} cannot be used now"
    assert said in refused.json()["detail"]
    told = wait_for(lambda: plant.health().json()["parts"]["temporal"], lambda part: part["state"] == "down")
    assert said in told["detail"]
    assert counted(durable, "executions") == executions
    assert launches(durable) == 0
    assert keys_of_nobody(durable) == []
    durable.temporal.start()
    wait_for(lambda: plant.health().json()["parts"]["temporal"]["state"] == "ok")
    # A run behind it, and nothing but that.
    assert numbers(plant.stream(plant.launch("count", n=3))) == [0, 1, 2]
    assert counted(durable, "executions") == executions + 1
    assert notes(path) == []


def test_a_run_goes_on_and_ends_while_temporal_is_away(durable: Works, path: Path) -> None:
    plant = durable.plant
    fid = stepping(durable, path)

    durable.temporal.kill()
    answer_when_open(plant, fid, "without Temporal")
    check_steps(ended(plant, fid), notes(path), "without Temporal")

    durable.temporal.start()
    durable.until_workflow(fid, "completed")
    assert len(notes(path)) == 1
    wait_for(lambda: launches(durable), lambda kept: kept == 0)


def test_a_run_lives_on_while_temporal_is_away_for_longer_than_a_heartbeat_may_take(
    durable: Works, path: Path, gate: Path
) -> None:
    plant = durable.plant
    fid = dripping(durable, path, gate)

    durable.temporal.kill()
    time.sleep(HEARTBEAT_TIMEOUT.total_seconds() + 3)
    assert plant.status(fid) == "running"
    durable.temporal.start()

    check_goes_on_to_its_end(durable, fid, gate)
    assert len(notes(path)) == 1


# the worker ----------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_and_ends_while_no_worker_lives(durable: Works, path: Path) -> None:
    plant = durable.plant
    fid = stepping(durable, path)

    plant.worker.send(signal.SIGKILL)
    answer_when_open(plant, fid, "without a worker")
    check_steps(ended(plant, fid), notes(path), "without a worker")

    plant.worker.start()
    durable.until_workflow(fid, "completed")
    assert len(notes(path)) == 1


def test_a_launch_while_no_worker_lives_is_accepted_and_runs_once_there_is_one(durable: Works, path: Path) -> None:
    plant = durable.plant
    plant.worker.send(signal.SIGKILL)

    fid = plant.launch("noted_question", notes=str(path))
    assert plant.stored(fid, "status") == ["starting"]
    assert notes(path) == []
    plant.worker.start()
    answer_when_open(plant, fid, "at last")

    assert attempts_shown(ended(plant, fid)) == [1]
    assert len(notes(path)) == 1


def test_a_worker_killed_before_user_code_was_called_costs_no_attempt(durable: Works, path: Path) -> None:
    plant = durable.plant
    plant.worker.send(signal.SIGKILL)
    fid = plant.launch("noted_question", notes=str(path))

    plant.worker.start()
    # It has the run, and hasn't reached the pool yet, or just has.
    wait_for(lambda: durable.working(fid))
    plant.worker.send(signal.SIGKILL)
    plant.worker.start()
    answer_when_open(plant, fid, "in the end")

    assert attempts_shown(ended(plant, fid)) == [note.attempt for note in notes(path)] == [1]


def test_a_worker_that_is_stopped_leaves_its_runs_to_the_next(durable: Works, path: Path, gate: Path) -> None:
    plant = durable.plant
    fid = dripping(durable, path, gate)

    assert plant.worker.end() == 0
    plant.worker.start()

    check_goes_on_to_its_end(durable, fid, gate)


def test_another_worker_sees_to_the_next_attempt(durable: Works, path: Path, gate: Path) -> None:
    plant = durable.plant
    fid = dripping(durable, path, gate)
    second = plant.another_worker("second")

    plant.worker.send(signal.SIGKILL)
    second.start()
    try:
        kill_runner(path)
        events = ended_when_called_again(plant, fid, path, gate)
        assert attempts_shown(events) == [1, 2]
        assert [note.attempt for note in notes(path)] == [1, 2]
    finally:
        second.end()


# the runner ----------------------------------------------------------------------------------------------------------


def test_a_lock_of_a_dead_runner_is_answered_while_no_worker_lives_and_not_asked_again(
    durable: Works, path: Path
) -> None:
    plant = durable.plant
    fid = plant.launch("noted_question", notes=str(path))
    (lid,) = open_locks(plant.client, fid)

    plant.worker.send(signal.SIGKILL)
    kill_runner(path)
    wait_for(lambda: answer(plant.client, fid, lid, answer="meanwhile").status_code, lambda code: code == 200)
    assert answer(plant.client, fid, lid, answer="too late").status_code in (404, 409)
    assert len(notes(path)) == 1
    plant.worker.start()

    events = ended(plant, fid)
    assert texts(events, "final") == ['{"dict": {"to": 1, "answer": "meanwhile"}}']
    assert [json.loads(told)["dict"]["lid"] for told in texts(events, "lock")] == [lid]
    assert [json.loads(told)["dict"]["lid"] for told in texts(events, "lease")] == [lid]
    assert [note.attempt for note in notes(path)] == attempts_shown(events) == [1, 2]


def test_a_lock_that_nobody_has_answered_is_open_under_its_id_in_the_next_attempt(durable: Works, path: Path) -> None:
    plant = durable.plant
    fid = plant.launch("noted_question", notes=str(path))
    (lid,) = open_locks(plant.client, fid)

    kill_runner(path)
    wait_for(lambda: len(notes(path)), lambda called: called == 2)
    assert open_locks(plant.client, fid) == [lid]
    assert plant.status(fid) == "awaiting"
    wait_for(lambda: answer(plant.client, fid, lid, answer="still").status_code, lambda code: code == 200)

    events = ended(plant, fid)
    assert texts(events, "final") == ['{"dict": {"to": 1, "answer": "still"}}']
    assert len(texts(events, "lock")) == len(texts(events, "lease")) == 1


def test_a_pause_outlives_the_runner(durable: Works, path: Path, gate: Path) -> None:
    plant = durable.plant
    fid = dripping(durable, path, gate)
    assert plant.steer(fid, "pause") == "paused"

    kill_runner(path)
    plant.stored(fid, "attempt")
    assert plant.status(fid) == "paused"
    assert plant.rows(fid)[-1].kind == "attempt"
    assert len(notes(path)) == 1, "no user code is called in a pause"
    assert plant.steer(fid, "resume") == "running"
    events = ended_when_called_again(plant, fid, path, gate)
    assert [texts(part, "status") for part in by_attempt(events)] == [
        ["starting", "running", "paused"],
        ["running", "running", "finished"],
    ]


def test_a_pause_between_two_attempts_is_shown_and_kept(durable: Works, path: Path, gate: Path) -> None:
    plant = durable.plant
    fid = dripping(durable, path, gate)

    plant.worker.send(signal.SIGKILL)
    kill_runner(path)
    assert plant.steer(fid, "pause") == "paused"
    wait_for(lambda: plant.rows(fid)[-1], lambda row: (row.kind, row.payload) == ("status", "paused"))
    plant.worker.start()
    plant.stored(fid, "attempt")
    assert plant.steer(fid, "pause") == "paused"
    assert len(notes(path)) == 1
    assert plant.steer(fid, "resume") == "running"
    events = ended_when_called_again(plant, fid, path, gate)
    assert attempts_shown(events) == [1, 2]


def test_a_run_that_loses_three_attempts_ends_with_the_reason(durable: Works, path: Path, gate: Path) -> None:
    plant = durable.plant
    fid = dripping(durable, path, gate)

    for attempt in (1, 2, 3):
        wait_for(lambda: notes(path)[-1].attempt, lambda noted, attempt=attempt: noted == attempt)
        kill_runner(path)

    events = ended(plant, fid)
    assert texts(events, "status")[-1] == "error"
    assert attempts_shown(events) == [note.attempt for note in notes(path)] == [1, 2, 3]
    assert "Attempt 3 was the last." in texts(events, "error")[0]
    durable.until_workflow(fid, "failed")


def test_what_user_code_raises_ends_a_durable_run_at_once(durable: Works) -> None:
    fid = durable.plant.launch("fails", word="luck")

    events = durable.plant.stream(fid)
    assert "ValueError: no luck" in texts(events, "error")[0]
    assert attempts_shown(events) == [1]
    durable.until_workflow(fid, "failed")


# cancelling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runner", ["alive", "dead"])
def test_a_run_is_cancelled_while_no_worker_lives(durable: Works, path: Path, gate: Path, runner: str) -> None:
    plant = durable.plant
    fid = dripping(durable, path, gate)

    plant.worker.send(signal.SIGKILL)
    if runner == "dead":
        kill_runner(path)
    assert plant.steer(fid, "cancel") == "error"

    assert plant.status(fid) == "error"
    plant.worker.start()
    durable.until_workflow(fid, "failed")
    events = ended(plant, fid)
    assert texts(events, "error") == ["killed by admin"]
    assert attempts_shown(events) == [1]
    assert len(notes(path)) == 1


# the pool ------------------------------------------------------------------------------------------------------------


def test_a_run_outlives_the_pool(durable: Works, path: Path, gate: Path, head: Head) -> None:
    fid = dripping(durable, path, gate)

    actor(head, "RunnerPool").kill()

    check_goes_on_to_its_end(durable, fid, gate)


def test_a_run_whose_runner_dies_with_the_pool_is_called_again(
    durable: Works, path: Path, gate: Path, head: Head
) -> None:
    plant = durable.plant
    fid = dripping(durable, path, gate)

    actor(head, "RunnerPool").kill()
    kill_runner(path)
    events = ended_when_called_again(plant, fid, path, gate)
    assert attempts_shown(events) == [note.attempt for note in notes(path)] == [1, 2]


def test_a_pause_that_no_pool_knows_of_is_shown_and_kept(durable: Works, path: Path, gate: Path, head: Head) -> None:
    plant = durable.plant
    fid = dripping(durable, path, gate)

    plant.worker.send(signal.SIGKILL)
    actor(head, "RunnerPool").kill()
    kill_runner(path)
    assert wait_for(lambda: plant.steer(fid, "pause")) == "paused"
    wait_for(lambda: plant.rows(fid)[-1], lambda row: (row.kind, row.payload) == ("status", "paused"))
    plant.worker.start()
    plant.stored(fid, "attempt")
    assert plant.status(fid) == "paused"
    assert len(notes(path)) == 1
    assert plant.steer(fid, "resume") == "running"
    ended_when_called_again(plant, fid, path, gate)


def counted(durable: Works, table: str) -> int:
    """The rows of a table."""
    ((number,),) = durable.postgres.execute(f"SELECT count(*) FROM {table}", durable.database)
    return int(number)


def keys_of_nobody(durable: Works) -> list[str]:
    """What Redis keeps of runs that aren't stored; spoolers' own keys come and go."""
    names = Names(*(Settings.model_fields[name].default for name in ("redis_stream_prefix", "redis_consumer_group")))
    stored = [fid for (fid,) in durable.postgres.execute("SELECT fid FROM executions", durable.database)]
    of_runs = [key for key in durable.redis.keys("") if not key.startswith(names.base)]
    return [key for key in of_runs if not any(fid in key for fid in stored)]


def launches(durable: Works) -> int:
    """What is kept of launches that nobody is through with."""
    return counted(durable, "execution_launches")
