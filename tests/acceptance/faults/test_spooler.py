"""The spooler dies, stands still or is away: nothing is lost, nothing comes twice."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.acceptance.faults.plant import Plant, numbers, texts, wait_for

pytestmark = pytest.mark.fault

QUEUE_EVENTS = 20_000


def test_a_spooler_killed_in_a_burst_loses_nothing_and_stores_nothing_twice(plant: Plant, gate: Path) -> None:
    fids = [plant.launch("burst", gate=str(gate)) for _ in range(2)]
    for killed in range(1, 4):
        for fid in fids:
            plant.stored(fid, "result", 2_000 * killed)
        plant.spooler.send(signal.SIGKILL)
        plant.spooler.start()
    gate.touch()

    for fid in fids:
        events = plant.stream(fid)
        told = int(texts(events, "final")[0].removeprefix('{"int": ').removesuffix("}"))
        assert numbers(events) == list(range(told))
        assert texts(events, "status")[-1] == "finished"
        assert len(plant.rows(fid)) == len(events)


def test_a_paused_spooler_that_wakes_behind_its_successor_stores_nothing_twice(plant: Plant, gate: Path) -> None:
    fid = plant.launch("drip", gate=str(gate), pause_s=0.001)
    plant.stored(fid, "result", 100)
    successor = plant.another_spooler("successor")
    successor.start()
    try:
        wait_for(lambda: consumers(plant), lambda living: living == 2)
        plant.spooler.send(signal.SIGSTOP)
        before = len(plant.rows(fid))
        wait_for(lambda: consumers(plant), lambda living: living == 1)
        # SQLite's locks outlast a lease: if the sleeper holds one, its successor waits for it, and says so.
        wait_for(lambda: len(plant.rows(fid)) > before + 1_000 or "locked" in successor.log.read_text())
        plant.spooler.send(signal.SIGCONT)
        plant.stored(fid, "result", before + 2_000)
        gate.touch()

        events = plant.stream(fid)
        assert numbers(events) == list(range(len(numbers(events))))
        assert texts(events, "final") == [f'{{"int": {len(numbers(events))}}}']
        assert plant.spooler.alive
        wait_for(lambda: consumers(plant), lambda living: living == 2)
    finally:
        plant.spooler.send(signal.SIGCONT)
        successor.end()


def consumers(plant: Plant) -> int:
    """Spoolers whose leases hold."""
    return int(plant.health().json()["parts"]["transport"]["consumers"])


def test_without_a_spooler_producers_wait_and_all_arrives_once_there_is_one(plant: Plant, gate: Path) -> None:
    fid = plant.launch("burst", gate=str(gate))
    plant.stored(fid, "result", 1_000)
    plant.spooler.send(signal.SIGKILL)

    wait_for(lambda: plant.health().json()["parts"]["spooler"]["state"], lambda state: state == "down")
    assert plant.health().status_code == 503
    # Full when what waits doesn't grow any more: the queue's bound holds the runner up, and the runner's the agent.
    full = wait_for(
        lambda: plant.health().json()["parts"]["transport"]["waiting_events"], lambda n: n > QUEUE_EVENTS * 0.7, 300.0
    )
    assert full <= QUEUE_EVENTS
    gate.touch()
    plant.spooler.start()

    events = plant.stream(fid)
    assert numbers(events) == list(range(len(numbers(events))))
    assert texts(events, "final") == [f'{{"int": {len(numbers(events))}}}']
