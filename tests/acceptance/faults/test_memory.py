"""Memory stays flat over many runs, and nothing is left behind of them on the cluster."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from kodosumi.cluster import Head
from tests.acceptance.faults.plant import Plant, actor, named_actors, wait_for

pytestmark = pytest.mark.fault

HALF_S = 25.0
"""As many runs as go into this time, twice; the second half is compared with the end of the first."""

AT_ONCE = 8
GROWTH = 1.15
SLACK_BYTES = 8 * 1024 * 1024


def run_for(plant: Plant, seconds: float) -> int:
    """Runs one short run after the other, several at once, and waits for their ends; how many."""
    end = time.monotonic() + seconds

    def one_after_the_other(_: int) -> int:
        runs = 0
        while time.monotonic() < end:
            plant.stream(plant.launch("count", n=5))
            runs += 1
        return runs

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(one_after_the_other, range(AT_ONCE)))


def working(plant: Plant) -> tuple[int, int]:
    """How many runs wait for a process, and how many processes are at work: a moment longer than their runs."""
    figures = plant.health().json()["parts"]["runs"]
    return figures["waiting"], figures["busy_processes"]


def test_promise_5_memory_is_flat_and_no_process_is_left_over(plant: Plant, head: Head) -> None:
    parts = {name: actor(head, name) for name in ("QueueActor", "RunnerPool")}
    parts |= {name: psutil.Process(getattr(plant, name).pid) for name in ("panel", "spooler", "app")}
    of_others = set(named_actors(head))
    run_for(plant, HALF_S)
    first = {name: process.memory_info().rss for name, process in parts.items()}

    runs = run_for(plant, HALF_S)

    second = {name: process.memory_info().rss for name, process in parts.items()}
    print(f"{runs} runs;", {name: (first[name] >> 10, second[name] >> 10) for name in parts})
    grown = {name: second[name] for name in parts if second[name] > first[name] * GROWTH + SLACK_BYTES}
    assert grown == {}, (first, second)
    wait_for(lambda: working(plant), lambda figures: figures == (0, 0))
    # Apps that ran here before keep a warm process each for some minutes.
    wait_for(lambda: set(named_actors(head)) - of_others, lambda ours: len(ours) <= AT_ONCE + 2)
    assert {"pool", "queue-0"} <= set(named_actors(head))
