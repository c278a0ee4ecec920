"""A Ray for the fault tests, and on it the plant that they kill parts of."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kodosumi import cluster
from kodosumi.cluster import Head
from kodosumi.config import Settings
from tests.acceptance.faults.plant import Plant

MakePlant = Callable[..., Plant]


@pytest.fixture(scope="package")
def head() -> Iterator[Head]:
    """A Ray of these tests' own: queues and pools die on it, and another stack must not read their events."""
    temp_dir = Path(tempfile.mkdtemp(prefix="kf", dir="/tmp"))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        head = cluster.start_head(
            Settings(ray_server=None, _env_file=None),
            dashboard=False,
            temp_dir=temp_dir,
            num_cpus=16,
            object_store_bytes=200_000_000,
        )
    yield head
    head.stop()
    shutil.rmtree(temp_dir, ignore_errors=True)


@pytest.fixture(scope="package")
def standing_plant(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """The plant that most tests use one after the other; not started."""
    plant = Plant(tmp_path_factory.mktemp("plant"), head.address)
    yield plant
    plant.stop()


@pytest.fixture
def plant(standing_plant: Plant) -> Iterator[Plant]:
    """A plant that works, whatever the test before has killed."""
    standing_plant.start()
    yield standing_plant
    standing_plant.show_logs()


@pytest.fixture
def make_plant(standing_plant: Plant, tmp_path: Path) -> Iterator[MakePlant]:
    """Makes plants, not started, and ends them after the test."""
    # Its spooler would read the new plant's events.
    standing_plant.stop()
    plants: list[Plant] = []

    def make(*args: object, **settings: object) -> Plant:
        folder = tmp_path / f"plant-{len(plants)}"
        folder.mkdir()
        plants.append(Plant(folder, *args, **settings))  # type: ignore[arg-type]
        return plants[-1]

    yield make
    for plant in plants:
        plant.stop()
        plant.show_logs()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """Where agents look for a file that ends them; it is there after the test, whatever became of that."""
    path = tmp_path / "gate"
    yield path
    path.touch()
