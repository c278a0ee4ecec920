"""The network between a spooler and Redis fails where it hurts most, or is slow: a client reads each run whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kodosumi.cluster import Head
from kodosumi.transport.redis import scripts
from tests.acceptance.faults.plant import DEADLINE_S, Plant, Row, Service, numbers, texts, wait_for
from tests.servers.postgres import PostgresServer
from tests.servers.proxy import Proxy, proxies
from tests.servers.redis import RedisServer
from tests.sse import Message

pytestmark = pytest.mark.fault

ACK, READ = (script.sha.encode() for script in (scripts.ACK, scripts.READ))
COMMIT = b"COMMIT"
CONSUMING = (scripts.BEAT, scripts.CLAIM, scripts.READ, scripts.ACK, scripts.RELEASE, scripts.UNHOLD, scripts.LEAVE)
SPOOLERS = [*(script.sha.encode() for script in CONSUMING), b"}:bell:"]
"""What spoolers alone send. Runs go the same way, as they are told its address by the spooler."""

Lay = Callable[[Proxy, Proxy], None]
POINTS: dict[str, Lay] = {
    "when entries were read": lambda redis, _: redis.after(READ, redis.part),
    "before COMMIT": lambda redis, database: database.before(COMMIT, redis.part),
    "after COMMIT": lambda redis, database: database.after(COMMIT, redis.part),
    "before XACK": lambda redis, _: redis.before(ACK, redis.part),
    "after XACK": lambda redis, _: redis.after(ACK, redis.part),
}
"""Where the network fails -> lays the snare between the first spooler, Redis and the database."""


class Works:
    """A plant on Redis and PostgreSQL, one of whose two spoolers reaches both through proxies.

    Attributes:
        first: that spooler. second: the other one, not started.
    """

    def __init__(self, plant: Plant, redis: Proxy, database: Proxy, second: Service) -> None:
        self.plant, self.redis, self.database = plant, redis, database
        self.first, self.second = plant.spooler, second

    def readers(self) -> dict[int, int]:
        """How many executions each living spooler holds, by its process id."""
        told = self.plant.health().json()["parts"]["spooler"].get("spoolers", [])
        return {int(one["name"].rpartition(":")[2]): one["executions"] for one in told}

    def until_held_by(self, holder: Service, living: int) -> None:
        """Returns when a spooler holds the only run, and so many live."""
        wait_for(self.readers, lambda held: held.get(holder.pid) == 1 and len(held) == living)

    def until_goes_on(self, fid: str, events: int = 500) -> None:
        """Returns when so many more events of a run are stored than now."""
        before = self.plant.reached(fid)
        wait_for(lambda: self.plant.reached(fid) >= before + events)


@pytest.fixture(scope="module")
def works(
    standing_plant: Plant, head: Head, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Works]:
    """What these tests use one after the other."""
    # Its spooler would look after the same runs.
    standing_plant.stop()
    name = postgres_server.create_database()
    with (
        RedisServer(appendonly="yes", appendfsync="always") as server,
        proxies(server.port, int(postgres_server.url().rpartition(":")[2].partition("/")[0])) as (redis, database),
    ):
        redis.words = SPOOLERS
        plant = Plant(
            tmp_path_factory.mktemp("network"),
            head.address,
            event_transport="redis",
            redis_url=server.url(),
            execution_database=postgres_server.url(name),
        )
        second = plant.spooler
        plant.spooler = plant.another_spooler(
            "first",
            redis_url=server.url(port=redis.port),
            execution_database=postgres_server.url(name, port=database.port),
        )
        plant.start()
        yield Works(plant, redis, database, second)
        plant.stop()
    postgres_server.drop_database(name)


@pytest.fixture
def second(works: Works) -> Iterator[Service]:
    """The second spooler, which lives as long as its test; logs are shown when it fails."""
    works.plant.start()
    yield works.second
    works.redis.heal()
    works.plant.show_logs()
    if works.second.alive:
        assert works.second.end() == 0


@pytest.mark.parametrize("point", POINTS)
def test_a_cut_loses_and_doubles_nothing_be_it_short_or_longer_than_the_lease(
    works: Works, second: Service, gate: Path, point: str
) -> None:
    plant = works.plant
    fid = plant.launch("volleys", gate=str(gate))
    reading = plant.reading(fid)
    works.until_held_by(works.first, living=1)
    second.start()
    wait_for(works.readers, lambda held: len(held) == 2)

    cut(works, point)
    works.redis.heal()
    works.until_goes_on(fid)
    # A short cut costs no lease: once lost, the run would stay with the other.
    works.until_held_by(works.first, living=2)

    cut(works, point)
    works.until_held_by(second, living=1)
    works.until_goes_on(fid)
    works.redis.heal()
    wait_for(works.readers, lambda held: len(held) == 2)
    works.until_goes_on(fid)
    gate.touch()

    check_whole(plant, fid, reading.result(DEADLINE_S))


def test_a_slow_network_costs_time_and_no_more(works: Works, second: Service, gate: Path) -> None:
    plant = works.plant
    given_up = works.first.log.read_text().count("given up")
    # 80 KB/s each way for all that goes through it, and a tenth of a second for an answer.
    works.redis.delay_s, works.redis.chunk_bytes = 0.05, 4096
    try:
        fid = plant.launch("volleys", gate=str(gate))
        reading = plant.reading(fid)
        works.until_goes_on(fid, 2_000)
        gate.touch()

        check_whole(plant, fid, reading.result(DEADLINE_S))
        assert works.first.log.read_text().count("given up") == given_up
    finally:
        works.redis.delay_s, works.redis.chunk_bytes = 0.0, 65_536


def cut(works: Works, point: str) -> None:
    """Cuts the first spooler off from Redis at a point, and returns when that has happened."""
    POINTS[point](works.redis, works.database)
    wait_for(lambda: works.redis.parted)


def check_whole(plant: Plant, fid: str, followed: list[Message]) -> None:
    """Who followed a run, who reads it now and the database have the same, and it's all that was told."""
    told = numbers(followed)
    assert told == list(range(len(told)))
    assert texts(followed, "final") == [f'{{"int": {len(told)}}}']
    assert plant.stream(fid) == followed
    assert plant.rows(fid) == [Row(event.seq, event.kind, event.payload) for event in followed]
