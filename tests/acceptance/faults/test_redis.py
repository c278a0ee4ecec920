"""Redis as the transport: spoolers and Redis itself die, stand still or are away, as a client sees it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi.cluster import Head
from tests.acceptance.faults.conftest import MakePlant
from tests.acceptance.faults.plant import DEADLINE_S, Plant, Service, numbers, texts, wait_for
from tests.servers.redis import RedisServer
from tests.sse import Message

pytestmark = pytest.mark.fault

LOSS = "lost"
EVENTS = 20_000

FILLED_S = 300.0
"""What a burst, slow by then, may take until there's no room for more of it."""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis that keeps what it accepted, also when it is killed."""
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture
def plant(redis: RedisServer, make_plant: MakePlant, head: Head) -> Plant:
    """A working plant whose events go through that Redis."""
    plant: Plant = make_plant(head.address, event_transport="redis", redis_url=redis.url())
    plant.start()
    return plant


def whole(events: list[Message]) -> bool:
    """Whether a run came through whole and says so."""
    told = numbers(events)
    return told == list(range(len(told))) and texts(events, "final") == [f'{{"int": {len(told)}}}']


def spoolers(plant: Plant) -> list[dict[str, object]]:
    """What health says of each living spooler."""
    found: list[dict[str, object]] = plant.health().json()["parts"]["spooler"].get("spoolers", [])
    return found


def leases(redis: RedisServer) -> int:
    """How many spoolers have neither left nor been given up; health may know it a moment later."""
    (key,) = [key for key in redis.keys("") if key.endswith(":consumers")]
    with redis.client() as client:
        return int(client.zcard(key))


def test_two_spoolers_share_and_killing_one_in_a_burst_loses_nothing(plant: Plant, gate: Path) -> None:
    second: Service = plant.another_spooler("second")
    second.start()
    try:
        wait_for(lambda: len(spoolers(plant)), lambda living: living == 2)
        fids = [plant.launch("burst", gate=str(gate)) for _ in range(4)]
        for fid in fids:
            plant.stored(fid, "result", 500)
        wait_for(lambda: [one["executions"] for one in spoolers(plant)], lambda held: held == [2, 2])

        plant.spooler.send(signal.SIGKILL)
        for fid in fids:
            plant.stored(fid, "result", 3_000)
        plant.spooler.start()
        wait_for(lambda: [one["executions"] for one in spoolers(plant)], lambda held: held == [2, 2])
        gate.touch()

        for fid in fids:
            events = plant.stream(fid)
            assert whole(events)
            assert len(plant.rows(fid)) == len(events)
    finally:
        second.end()


def test_a_spooler_that_is_stopped_hands_its_runs_over_in_order(redis: RedisServer, plant: Plant, gate: Path) -> None:
    second: Service = plant.another_spooler("second")
    second.start()
    try:
        wait_for(lambda: len(spoolers(plant)), lambda living: living == 2)
        fids = [plant.launch("volleys", gate=str(gate)) for _ in range(4)]
        reading = [plant.reading(fid) for fid in fids]
        wait_for(lambda: [one["executions"] for one in spoolers(plant)], lambda held: held == [2, 2])

        assert plant.spooler.end() == 0
        assert "SIGTERM" not in plant.spooler.log.read_text(), "Ray's own handler would abort it after three seconds"
        assert leases(redis) == 1, "none had to run out"
        wait_for(lambda: [one["executions"] for one in spoolers(plant)], lambda held: held == [4])
        before = [plant.reached(fid) for fid in fids]
        wait_for(lambda: [plant.reached(fid) for fid in fids], lambda now: all(map(int.__gt__, now, before)))
        plant.spooler.start()
        wait_for(lambda: [one["executions"] for one in spoolers(plant)], lambda held: held == [2, 2])
        gate.touch()

        for fid, read in zip(fids, reading, strict=True):
            events = read.result(DEADLINE_S)
            assert whole(events)
            assert len(plant.rows(fid)) == len(events)
    finally:
        second.end()


def test_with_all_spoolers_dead_runs_wait_and_all_arrives_once_there_is_one(plant: Plant, gate: Path) -> None:
    second: Service = plant.another_spooler("second")
    second.start()
    try:
        wait_for(lambda: len(spoolers(plant)), lambda living: living == 2)
        fids = [plant.launch("burst", gate=str(gate)) for _ in range(3)]
        reading = [plant.reading(fid) for fid in fids]
        for fid in fids:
            plant.stored(fid, "result", 500)
        for spooler in (plant.spooler, second):
            spooler.send(signal.SIGKILL)

        wait_for(lambda: plant.health().json()["parts"]["spooler"]["state"], lambda state: state == "down")
        transport = wait_for(
            lambda: plant.health().json()["parts"]["transport"],
            lambda part: part["waiting_producers"] == len(fids),
            FILLED_S,
        )
        assert transport["waiting_events"] <= len(fids) * 10_000
        assert plant.health().status_code == 503
        gate.touch()
        for spooler in (plant.spooler, second):
            spooler.start()

        for fid, read in zip(fids, reading, strict=True):
            events = read.result(DEADLINE_S)
            assert whole(events)
            assert len(plant.rows(fid)) == len(events)
        plant.until_well()
    finally:
        second.end()


def test_a_redis_that_keeps_its_data_is_killed_and_nothing_is_lost(
    redis: RedisServer, plant: Plant, gate: Path
) -> None:
    loud = plant.launch("count", n=EVENTS)
    quiet = plant.launch("hold", gate=str(gate))
    plant.stored(quiet, "debug")
    for part in range(1, 4):
        plant.stored(loud, "result", part * EVENTS // 6)
        redis.restart()
    gate.touch()

    assert whole(plant.stream(loud))
    assert texts(plant.stream(quiet), "final") == ['{"str": "held"}']
    plant.until_well()


def test_a_redis_that_comes_back_empty_ends_what_lost_something_with_a_notice(
    make_plant: MakePlant, head: Head, gate: Path
) -> None:
    with RedisServer() as redis:
        plant: Plant = make_plant(head.address, event_transport="redis", redis_url=redis.url())
        plant.start()
        loud = plant.launch("burst", gate=str(gate))
        quiet = plant.launch("hold", gate=str(gate))
        plant.stored(loud, "result", 1_000)
        plant.stored(quiet, "debug")
        plant.spooler.send(signal.SIGKILL)
        wait_for(lambda: plant.health().json()["parts"]["transport"]["waiting_events"])

        redis.restart()
        plant.spooler.start()
        gate.touch()

        events = plant.stream(loud)
        assert texts(events, "status")[-1] == "error"
        assert any(LOSS in text for text in texts(events, "error")), texts(events, "error")
        told = numbers(events)
        assert told == sorted(set(told))
        ended = plant.stream(quiet)
        assert texts(ended, "final") == ['{"str": "held"}'] or any(LOSS in text for text in texts(ended, "error"))
        plant.until_well()
        assert whole(plant.stream(plant.launch("count", n=5)))


def test_a_spooler_paused_beyond_its_lease_stores_nothing_twice(plant: Plant, gate: Path) -> None:
    fid = plant.launch("drip", gate=str(gate), pause_s=0.002)
    plant.stored(fid, "result", 100)
    second: Service = plant.another_spooler("second")
    second.start()
    try:
        wait_for(lambda: len(spoolers(plant)), lambda living: living == 2)
        holder = plant.spooler
        holder.send(signal.SIGSTOP)
        before = len(plant.rows(fid))
        wait_for(lambda: len(spoolers(plant)), lambda living: living == 1)
        # SQLite's locks outlast a lease: if the sleeper holds one, its successor waits for it, and says so.
        wait_for(lambda: len(plant.rows(fid)) > before + 500 or "locked" in second.log.read_text())
        holder.send(signal.SIGCONT)
        plant.stored(fid, "result", before + 1_000)
        gate.touch()

        assert whole(plant.stream(fid))
        wait_for(lambda: len(spoolers(plant)), lambda living: living == 2)
    finally:
        plant.spooler.send(signal.SIGCONT)
        second.end()


def test_no_key_is_left_of_runs_that_are_over(redis: RedisServer, plant: Plant) -> None:
    fids = [plant.launch("count", n=number % 5) for number in range(60)]
    for fid in fids:
        assert whole(plant.stream(fid))

    def left() -> list[str]:
        return [key for key in redis.keys("", lasting=True) if any(fid in key for fid in fids)]

    wait_for(left, lambda keys: keys == [])
    assert len(redis.keys("", lasting=True)) < 5, "what living spoolers need"
