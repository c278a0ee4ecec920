"""Rounds: one part of a durable run's world is killed at a random moment, and the run ends as it should.

``ROUNDS`` says how many there are, the parts taking turns, and ``ROUNDS_SEED`` repeats what was printed.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.faults.agents import QUESTION_AT, STEPS
from tests.acceptance.faults.durable import (
    Works,
    answer_when_open,
    attempts_shown,
    by_attempt,
    check_steps,
    ended,
    kill_runner,
    notes,
)
from tests.acceptance.faults.plant import Plant, Service, numbers, wait_for
from tests.acceptance.people import open_locks

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]

VICTIMS = ("runner", "worker", "spooler", "temporal", "redis", "postgres")
ROUNDS = int(os.environ.get("ROUNDS", len(VICTIMS)))
SEED = int(os.environ.get("ROUNDS_SEED") or random.SystemRandom().randrange(1_000_000))

PAUSES_S = {"worker": 0.2}
"""Of the agent, where more than 0.02: what is to be found at work again must still be at it."""

OUTAGE_S = 1.0
"""What a killed server is away for."""

AT_ONCE, WHILE_OPEN = 100, 200
"""Shares of moments, beside one for each event: when user code hasn't begun, and when its lock waits for an answer."""


@dataclass(frozen=True)
class Moment:
    """When a part is killed.

    Attributes:
        told: numbers that the agent has told at least; -1: it needn't have begun.
        unanswered: its lock is open then, and nobody has answered.
    """

    told: int
    unanswered: bool = False

    def __str__(self) -> str:
        if self.told < 0:
            return "at once"
        return "while its lock is open" if self.unanswered else f"after {self.told} of {STEPS} events"


def moment_of(round_: int) -> Moment:
    """The moment of a round, the same for the same seed."""
    drawn = random.Random(f"{SEED}:{round_}").randrange(-AT_ONCE, STEPS + WHILE_OPEN)
    if drawn < QUESTION_AT:
        return Moment(max(drawn, -1))
    after = drawn - WHILE_OPEN
    return Moment(QUESTION_AT, unanswered=True) if after < QUESTION_AT else Moment(after)


@pytest.mark.parametrize("round_", range(ROUNDS), ids=lambda number: f"{VICTIMS[number % len(VICTIMS)]}-{number}")
def test_a_run_ends_as_it_should_whatever_is_killed(durable: Works, round_: int, tmp_path: Path) -> None:
    plant, victim, moment = durable.plant, VICTIMS[round_ % len(VICTIMS)], moment_of(round_)
    path, text = tmp_path / "notes", f"answer {round_}"
    began = time.monotonic()

    fid = plant.launch("steps", notes=str(path), pause_s=PAUSES_S.get(victim, 0.02))
    reach(plant, fid, moment, path, text)
    killed = time.monotonic()
    starting = kill(durable, victim, path)
    if moment.told <= QUESTION_AT:
        answer_when_open(plant, fid, text)
    starting.join()
    events = ended(plant, fid)
    over = time.monotonic()

    told = [len(numbers(part)) for part in by_attempt(events)]
    print(
        f"\nround {round_} (seed {SEED}): {victim} killed {moment}, {killed - began:.1f} s after the launch; "
        f"ended {over - killed:.1f} s later; attempts {attempts_shown(events)}, which told {told}"
    )
    # Whoever sees to attempts has nothing more in mind either.
    durable.until_workflow(fid, "completed")
    check_steps(events, notes(path), text)
    assert plant.rows(fid)[-1].seq == len(events)
    if victim != "runner":
        assert attempts_shown(events) == [1], "its process lived: there was no need for another"


def reach(plant: Plant, fid: str, moment: Moment, path: Path, text: str) -> None:
    """Returns at the moment, or a little later; a lock that lies before it is answered."""
    if moment.told < 0:
        return
    wait_for(lambda: notes(path))
    if moment.unanswered:
        open_locks(plant.client, fid)
        return
    if moment.told > QUESTION_AT:
        answer_when_open(plant, fid, text)
    wait_for(lambda: plant.reached(fid), lambda seq: seq >= moment.told)


def kill(works: Works, victim: str, path: Path) -> threading.Thread:
    """Kills a part. It's started again by the thread that is returned: services at once, servers after a second."""
    if victim == "runner":
        kill_runner(path)
        return started(lambda: None)
    if victim in ("worker", "spooler"):
        service: Service = getattr(works.plant, victim)
        service.send(signal.SIGKILL)
        return started(service.start)
    server = getattr(works, victim)
    server.kill()

    def start() -> None:
        time.sleep(OUTAGE_S)
        server.start()

    return started(start)


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread
