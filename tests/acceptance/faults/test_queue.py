"""The event queue's process dies: a run goes on whole, or ends with an explicit notice of its loss. Never silent."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from kodosumi.cluster import Head
from tests.acceptance.faults.plant import Plant, actor, actors, numbers, texts, wait_for
from tests.sse import Message

pytestmark = pytest.mark.fault

LOSS = "The event queue was restarted: events of this run were lost."


def kill_queue(head: Head) -> None:
    """Kills the queue's process; returns when Ray has started it anew."""
    process = actor(head, "QueueActor")
    process.kill()
    wait_for(lambda: [one for one in actors(head, "QueueActor") if one.pid != process.pid])


def whole_or_told(events: list[Message]) -> bool:
    """Whether a run came through whole; if there's a hole in it, it must say so."""
    told = numbers(events)
    assert told == sorted(set(told)), "in order, and nothing twice"
    if LOSS in texts(events, "error"):
        assert texts(events, "status")[-1] == "error"
        return False
    assert told == list(range(len(told)))
    assert texts(events, "final") == [f'{{"int": {len(told)}}}'], texts(events, "error")
    return True


def test_a_queue_killed_in_a_burst_loses_nothing_silently(plant: Plant, head: Head, gate: Path) -> None:
    fids = [plant.launch("burst", gate=str(gate)) for _ in range(2)]
    for fid in fids:
        plant.stored(fid, "result", 2_000)

    kill_queue(head)
    gate.touch()

    for fid in fids:
        whole_or_told(plant.stream(fid))
    assert plant.status(plant.launch("count", n=3)) in {"starting", "running", "finished"}


def test_what_a_queue_took_and_no_one_read_is_told_as_lost(plant: Plant, head: Head, gate: Path) -> None:
    fid = plant.launch("drip", gate=str(gate))
    plant.stored(fid, "result", 20)
    plant.spooler.send(signal.SIGKILL)
    wait_for(lambda: plant.health().json()["parts"]["transport"]["waiting_events"], lambda waiting: waiting > 20)

    kill_queue(head)
    plant.spooler.start()
    gate.touch()

    assert not whole_or_told(plant.stream(fid))


def test_a_run_that_is_quiet_when_its_queue_dies_comes_through(plant: Plant, head: Head, gate: Path) -> None:
    fid = plant.launch("hold", gate=str(gate))
    plant.stored(fid, "debug")

    kill_queue(head)
    plant.until_well()
    gate.touch()

    events = plant.stream(fid)
    assert texts(events, "final") == ['{"str": "held"}']


def test_an_end_that_was_not_stored_when_the_queue_died_is_made_up_for(plant: Plant, head: Head, gate: Path) -> None:
    fid = plant.launch("hold", gate=str(gate))
    plant.stored(fid, "debug")
    # What is stored is acknowledged a moment later.
    wait_for(lambda: plant.health().json()["parts"]["transport"]["waiting_events"], lambda waiting: waiting == 0)
    plant.spooler.send(signal.SIGKILL)
    gate.touch()
    # The run is over and its end is nowhere but in the queue.
    wait_for(lambda: plant.health().json()["parts"]["transport"]["waiting_events"], lambda waiting: waiting >= 2)
    wait_for(lambda: plant.health().json()["parts"]["runs"]["running"], lambda running: running == 0)

    kill_queue(head)
    plant.spooler.start()

    events = plant.stream(fid)
    assert texts(events, "status")[-1] == "error"
    assert texts(events, "error"), "an end without a reason"


def test_a_run_that_waits_when_the_queue_dies_runs_all_the_same(make_plant, head: Head, gate: Path) -> None:
    plant: Plant = make_plant(head.address, max_runs=1)
    plant.start()
    first = plant.launch("hold", gate=str(gate))
    plant.stored(first, "debug")
    second = plant.launch("count", n=5)
    plant.stored(second, "meta")

    kill_queue(head)
    gate.touch()

    assert texts(plant.stream(first), "final") == ['{"str": "held"}']
    assert numbers(plant.stream(second)) == [0, 1, 2, 3, 4]
