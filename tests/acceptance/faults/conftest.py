"""A Ray for the fault tests, and on it a plant for each test."""

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


@pytest.fixture
def make_plant(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakePlant]:
    """Makes plants, not started, and ends them after the test; shows their logs when it failed."""
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
def plant(make_plant: MakePlant, head: Head) -> Plant:
    """A plant that works."""
    made = make_plant(head.address)
    made.start()
    return made


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Where agents look for a file that ends them."""
    return tmp_path / "gate"
