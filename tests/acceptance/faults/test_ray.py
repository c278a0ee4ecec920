"""Ray's head dies: what ran is ended, and panel, spooler and app outlive it and work on the next Ray."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from kodosumi import cluster
from kodosumi.cluster import Head
from kodosumi.cluster.finding import answers
from kodosumi.config import Settings
from tests.acceptance.faults.durable import Works, answer_when_open, attempts_shown, check_steps, ended, notes
from tests.acceptance.faults.plant import Plant, numbers, texts, wait_for

pytestmark = [pytest.mark.fault, pytest.mark.timeout(600)]


class OwnRay:
    """A Ray in a folder of its own, where only who looks in that folder finds it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._heads: list[Head] = []

    def start(self) -> None:
        """Starts it, anew if need be, at whatever address."""
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("RAY_ADDRESS", raising=False)
            patch.setenv("RAY_prestart_worker_first_driver", "0")
            self._heads.append(
                cluster.start_head(
                    Settings(ray_server=None, _env_file=None),
                    dashboard=False,
                    temp_dir=self.folder / "ray",
                    num_cpus=8,
                    object_store_bytes=100_000_000,
                )
            )

    def kill(self) -> None:
        """Kills every process of it at once; returns when nothing answers at its address any more."""
        head = self._heads[-1]
        keeper = psutil.Process(head._keeper.pid)
        for process in [keeper, *keeper.children(recursive=True)]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        head.stop()
        wait_for(lambda: not answers(head.address))

    def stop(self) -> None:
        """Ends what is left of it."""
        for head in self._heads:
            head.stop()


@pytest.fixture
def own_ray() -> Iterator[OwnRay]:
    """A running Ray that a test may kill."""
    folder = Path(tempfile.mkdtemp(prefix="kg", dir="/tmp"))
    ray = OwnRay(folder)
    ray.start()
    yield ray
    ray.stop()
    shutil.rmtree(folder, ignore_errors=True)


def test_panel_and_app_outlive_ray_and_what_ran_is_ended(own_ray: OwnRay, make_plant, gate: Path) -> None:
    plant: Plant = make_plant(None, {"RAY_TMPDIR": str(own_ray.folder)})
    plant.start()
    processes = (plant.panel, plant.spooler, plant.app)
    pids = [service.pid for service in processes]
    finished = plant.launch("count", n=3)
    assert numbers(plant.stream(finished)) == [0, 1, 2]
    quiet = plant.launch("hold", gate=str(gate))
    plant.stored(quiet, "debug")
    loud = plant.launch("drip", gate=str(gate))
    plant.stored(loud, "result", 10)

    own_ray.kill()

    health = wait_for(plant.health, lambda answer: answer.json()["parts"]["ray"]["state"] == "down")
    assert health.status_code == 503
    assert plant.status(quiet) == "running", "what is stored is read all the same"
    assert numbers(plant.stream(finished)) == [0, 1, 2]
    # No Ray for longer than the minute after which Ray ends a process that it has left alone isn't worth a test's
    # time; that it has been left is: what would end the process is gone with it.
    wait_for(lambda: "is gone, leaving it" in plant.panel.log.read_text())
    wait_for(lambda: "is gone, leaving it" in plant.spooler.log.read_text())

    own_ray.start()
    plant.until_well()
    for fid in (quiet, loud):
        events = plant.stream(fid)
        assert texts(events, "status")[-1] == "error"
        assert texts(events, "error"), "an end without a reason"
        assert numbers(events) == list(range(len(numbers(events))))
    again = wait_for(lambda: plant.ask("count", n=4), lambda answer: answer.status_code == 200)
    assert numbers(plant.stream(again.json()["result"])) == [0, 1, 2, 3]
    assert [service.pid for service in processes] == pids
    assert all(service.alive for service in processes)


def test_after_a_restart_of_everything_runs_of_the_dead_ray_are_ended(own_ray: OwnRay, make_plant, gate: Path) -> None:
    plant: Plant = make_plant(None, {"RAY_TMPDIR": str(own_ray.folder)})
    plant.start()
    fid = plant.launch("drip", gate=str(gate))
    plant.stored(fid, "result", 10)
    own_ray.kill()
    for service in (plant.app, plant.panel, plant.spooler):
        service.end()

    own_ray.start()
    plant.start()

    events = plant.stream(fid)
    assert texts(events, "status")[-1] == "error"
    assert numbers(events) == list(range(len(numbers(events))))


def test_a_durable_run_is_called_again_on_the_next_ray(own_ray: OwnRay, standing_plant: Plant, tmp_path: Path) -> None:
    standing_plant.stop()
    path = tmp_path / "notes"
    with Works(tmp_path, None, {"RAY_TMPDIR": str(own_ray.folder)}) as works:
        works.start()
        fid = works.plant.launch("steps", notes=str(path))
        works.plant.stored(fid, "result", 100)

        own_ray.kill()
        own_ray.start()
        answer_when_open(works.plant, fid, "on the next Ray")

        events = ended(works.plant, fid)
        check_steps(events, notes(path), "on the next Ray")
        assert attempts_shown(events) == [1, 2]
        wait_for(lambda: works.workflow(fid), lambda state: state == "completed")
