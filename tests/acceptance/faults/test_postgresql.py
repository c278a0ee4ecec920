"""The central database dies, is away or hangs: nothing is lost or doubled, and everyone is told the reason."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kodosumi.cluster import Head
from tests.acceptance.faults.conftest import MakePlant
from tests.acceptance.faults.plant import Plant, Service, numbers, texts, wait_for
from tests.servers.postgres import PostgresServer
from tests.servers.server import free_port
from tests.stack import KOCO

pytestmark = pytest.mark.fault

EVENTS = 100_000


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of these tests' own, which they kill."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> str:
    """A new, empty database; the server runs, whatever the test before has done to it."""
    if not server.alive:
        server.start()
    return server.url(server.create_database(migrated=False))


@pytest.fixture
def plant(url: str, make_plant: MakePlant, head: Head) -> Plant:
    """A working plant with its executions in the database."""
    plant: Plant = make_plant(head.address, execution_database=url)
    plant.upgrade()
    plant.start()
    return plant


def test_a_server_killed_again_and_again_in_a_burst_loses_nothing(server: PostgresServer, plant: Plant) -> None:
    fid = plant.launch("count", n=EVENTS)
    for killed in range(1, 5):
        plant.stored(fid, "result", killed * EVENTS // 6)
        server.kill()
        server.start()

    events = plant.stream(fid)
    assert numbers(events) == list(range(EVENTS))
    assert texts(events, "status")[-1] == "finished"
    assert len(plant.rows(fid)) == len(events)


def test_while_the_server_is_away_launches_are_refused_and_all_goes_on_when_it_is_back(
    server: PostgresServer, plant: Plant, gate: Path
) -> None:
    fid = plant.launch("drip", gate=str(gate))
    plant.stored(fid, "result", 20)

    server.stop()
    # Connections that broke, or a late answer, are told first, which is a 503 too.
    health = wait_for(plant.health, lambda answer: "nothing listens there" in str(answer.json()["reasons"]))
    assert health.status_code == 503
    refusal = wait_for(lambda: plant.ask("count", n=1), lambda answer: answer.status_code == 503)
    assert server.password not in refusal.text
    gate.touch()
    server.start()
    plant.until_well()

    events = plant.stream(fid)
    assert numbers(events) == list(range(len(numbers(events))))
    assert texts(events, "final") == [f'{{"int": {len(numbers(events))}}}']
    again = wait_for(lambda: plant.ask("count", n=3), lambda answer: answer.status_code == 200)
    assert numbers(plant.stream(again.json()["result"])) == [0, 1, 2]
    for log in plant.folder.glob("**/*.log"):
        assert server.password not in log.read_text()


def test_processes_that_start_before_their_database_wait_for_it(
    server: PostgresServer, url: str, make_plant: MakePlant, head: Head
) -> None:
    plant: Plant = make_plant(head.address, execution_database=url, admin_database=url)
    plant.upgrade()
    server.stop()
    processes = (plant.panel, plant.spooler)
    for process in processes:
        process.start()

    for process in processes:
        wait_for(lambda log=process.log: "trying again" in log.read_text())
    server.start()

    plant.start()
    assert numbers(plant.stream(plant.launch("count", n=3))) == [0, 1, 2]
    assert all(process.alive for process in processes)


def test_two_spoolers_share_runs_and_one_that_is_killed_is_replaced(plant: Plant, gate: Path) -> None:
    second: Service = plant.another_spooler("second")
    second.start()
    try:
        fids = [plant.launch("burst", gate=str(gate)) for _ in range(3)]
        for fid in fids:
            plant.stored(fid, "result", 1_000)
        plant.spooler.send(signal.SIGKILL)
        for fid in fids:
            plant.stored(fid, "result", 4_000)
        gate.touch()

        for fid in fids:
            events = plant.stream(fid)
            assert numbers(events) == list(range(len(numbers(events))))
            assert texts(events, "final") == [f'{{"int": {len(numbers(events))}}}']
    finally:
        second.end()


def test_what_cannot_be_right_is_one_line_that_names_the_remedy(
    server: PostgresServer, url: str, tmp_path: Path
) -> None:
    spool, serve = ("spool", "--block"), ("serve",)
    wrong = [
        (spool, url.replace("kodosumi:", "kodosumi:wrong"), "password"),
        (spool, server.url("no_such_database"), "does not exist"),
        (serve, url.replace("127.0.0.1", "no-such-host.invalid"), "host name is unknown"),
        (spool, url, "koco db --upgrade"),
        (serve, url, "koco db --upgrade"),
    ]
    started = [(ended_at_once(tmp_path, command, database), reason) for command, database, reason in wrong]
    for process, reason in started:
        _, said = process.communicate(timeout=150)

        assert process.returncode == 2, said
        assert reason in said and len(said.strip().splitlines()) == 1, said
        assert server.password not in said


def ended_at_once(folder: Path, command: tuple[str, ...], database: str) -> subprocess.Popen[str]:
    """A process that will not get far with its database."""
    variables = {"KODO_EXECUTION_DATABASE": database, "KODO_APP_SERVER": f"http://127.0.0.1:{free_port()}"}
    return subprocess.Popen(
        [str(KOCO), *command],
        cwd=folder,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
