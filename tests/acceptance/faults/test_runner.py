"""The runner dies while remote tasks of its run go on telling."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.acceptance.faults.plant import Plant, numbers, texts, wait_for

pytestmark = pytest.mark.fault


def test_what_remote_tasks_tell_after_the_end_of_their_run_is_not_stored(plant: Plant, gate: Path) -> None:
    fid = plant.launch("tasks", gate=str(gate))
    pid = int(plant.stored(fid, "debug")[0])
    plant.stored(fid, "result", 20)

    os.kill(pid, signal.SIGKILL)

    events = plant.stream(fid)
    assert texts(events, "status")[-1] == "error"
    assert "RunnerDied" in texts(events, "error")[-1]
    told = numbers(events)
    assert told == list(range(len(told)))
    # The task is Ray's to end with its owner; if it lived on, what it told is refused, and its code never fails.
    gate.touch()
    after = plant.launch("count", n=3)
    assert numbers(plant.stream(after)) == [0, 1, 2]
    assert len(plant.rows(fid)) == len(events)


def test_a_task_that_outlives_its_run_is_refused_and_its_code_goes_on(plant: Plant, gate: Path) -> None:
    note = gate.with_name("note")
    fid = plant.launch("leave_behind", gate=str(gate), note=str(note))
    plant.stored(fid, "result", 20)
    gate.touch()

    events = plant.stream(fid)
    assert texts(events, "status")[-1] == "finished"
    wait_for(note.exists)
    assert int(note.read_text()) >= len(numbers(events)) + 100
    # Another run behind it proves that the late events have had their way, and went nowhere.
    plant.stream(plant.launch("count", n=1))
    assert len(plant.rows(fid)) == len(events)
